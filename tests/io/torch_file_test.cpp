#include "io/torch_file.h"

#include <cstring>
#include <thread>

#include "base/convert.h"
#include "io/checkpoint.h"
#include "tests/io/file_builders.h"
#include "tests/test_util.h"

namespace gptq {
namespace torch_file_test {

using namespace std::string_literals;
namespace fs = std::filesystem;

std::vector<double> Values(const TensorView& view) {
  std::vector<double> values;
  if (IsFloat(view.dtype)) {
    const Tensor floats = ToFloat(view);
    for (const float value : floats.As<float>()) values.push_back(value);
    return values;
  }
  const int64_t size = Info(view.dtype).block_bytes;
  for (int64_t i = 0; i < view.elements(); ++i) {
    uint64_t bits = 0;
    std::memcpy(&bits, view.data + i * size, static_cast<size_t>(size));
    const int unused = static_cast<int>(64 - 8 * size);
    const bool is_signed = view.dtype != DType::kU8 && view.dtype != DType::kBool;
    values.push_back(is_signed ? static_cast<double>(static_cast<int64_t>(bits << unused) >> unused)
                               : static_cast<double>(bits));
  }
  return values;
}

// Element k of every storage is k - 3 (tests/data/torch/README.md).
void ExpectTensor(const CheckpointReader& reader, const std::string& name, DType dtype, const Shape& shape,
                  const std::vector<double>& storage_elements) {
  SCOPED_TRACE(name);
  const TensorView view = reader.Get(name);
  EXPECT_EQ(view.dtype, dtype);
  EXPECT_EQ(view.shape, shape);
  std::vector<double> expected;
  for (const double k : storage_elements) {
    expected.push_back(dtype == DType::kU8     ? k
                       : dtype == DType::kBool ? static_cast<double>(static_cast<int>(k) % 2)
                                               : k - 3);
  }
  EXPECT_EQ(Values(view), expected);
}

const std::vector<double> kAll = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

class TorchGolden : public testing::TestWithParam<const char*> {};

TEST_P(TorchGolden, EveryTypeAndLayout) {
  const CheckpointReader reader = CheckpointReader::Open(TestData(Concat("torch/", GetParam())));
  const std::pair<const char*, DType> types[] = {
      {"Double", DType::kF64}, {"Float", DType::kF32}, {"Half", DType::kF16},  {"BFloat16", DType::kBF16},
      {"Long", DType::kI64},   {"Int", DType::kI32},   {"Short", DType::kI16}, {"Char", DType::kI8},
      {"Byte", DType::kU8},    {"Bool", DType::kBool}};
  for (const auto& [name, dtype] : types) ExpectTensor(reader, name, dtype, {3, 4}, kAll);
  ExpectTensor(reader, "offset", DType::kF16, {2, 2}, {5, 6, 7, 8});
  ExpectTensor(reader, "transposed", DType::kF32, {4, 3}, {0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11});
  ExpectTensor(reader, "strided", DType::kBF16, {2, 2}, {1, 4, 7, 10});
  ExpectTensor(reader, "scalar", DType::kI64, {}, {7});
  ExpectTensor(reader, "empty", DType::kF32, {0, 4}, {});
  ExpectTensor(reader, "row", DType::kF32, {1, 4}, {4, 5, 6, 7});
  ExpectTensor(reader, "shared", DType::kF32, {12}, kAll);
  for (const char* name : {"parameter", "parameter_with_state", "from_type", "v1"})
    ExpectTensor(reader, name, DType::kF32, {4}, {8, 9, 10, 11});
  if (std::string_view(GetParam()) == "legacy.bin") {
    ExpectTensor(reader, "viewed", DType::kF32, {5}, {5, 6, 7, 8, 9});
  } else {
    ExpectTensor(reader, "v3", DType::kF32, {4}, {2, 3, 4, 5});
  }
  EXPECT_EQ(reader.names().size(), 22u);
  EXPECT_THAT(reader.FileOf("transposed"), testing::EndsWith(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Files, TorchGolden,
                         testing::Values("zip.bin", "zip_protocol4.bin", "legacy.bin", "training.pt"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           return name.substr(0, name.find('.'));
                         });

// Written by PyTorch itself; what its weights compute is tested with the other models.
TEST(TorchGolden, FileOfPyTorch) {
  const CheckpointReader torch = CheckpointReader::Open(TestData("models/llama_bin"));
  EXPECT_EQ(torch.names().size(), 21u);
  const TensorView head = torch.Get("lm_head.weight");
  EXPECT_EQ(head.dtype, DType::kF16);
  EXPECT_EQ(head.shape, (Shape{128, 48}));
}

TEST(TorchFile, TensorsInOrderAreMapped) {
  const TorchFile file = TorchFile::Open(TestData("torch/zip.bin"));
  const auto inside = [&](const TensorView& view) {
    return view.data >= file.file()->data() && view.data < file.file()->data() + file.file()->size();
  };
  EXPECT_TRUE(inside(file.tensors().at("offset")->View()));
  EXPECT_TRUE(inside(file.tensors().at("row")->View()));
  EXPECT_FALSE(file.tensors().at("transposed")->contiguous());
  std::vector<const std::byte*> copies(4);
  std::vector<std::thread> threads;
  for (const std::byte*& copy : copies)
    threads.emplace_back([&] { copy = file.tensors().at("transposed")->View().data; });
  for (std::thread& thread : threads) thread.join();
  for (const std::byte* copy : copies) EXPECT_EQ(copy, copies[0]);
  EXPECT_FALSE(inside(file.tensors().at("transposed")->View()));
}

TEST(TorchFile, ReleaseKeepsWhatWasReordered) {
  const CheckpointReader reader = CheckpointReader::Open(TestData("torch/zip.bin"));
  const TensorView view = reader.Get("transposed");
  reader.Release("transposed");
  reader.Release("Float");
  EXPECT_EQ(Values(view)[1], 1);
}

TEST(TorchFile, ShardsWithTheirIndex) {
  TemporaryFolder folder;
  fs::copy_file(TestData("torch/zip.bin"), folder.path() / "pytorch_model-00001-of-00002.bin");
  fs::copy_file(TestData("torch/legacy.bin"), folder.path() / "pytorch_model-00002-of-00002.bin");
  Put(folder.path() / "training_args.bin", "no weights");
  const auto index = [&](const char* second) {
    Put(folder.path() / "pytorch_model.bin.index.json",
        Concat(R"({"metadata":{},"weight_map":{"Float":"pytorch_model-00001-of-00002.bin",")", second,
               R"(":"pytorch_model-00002-of-00002.bin"}})"));
  };
  index("viewed");
  const CheckpointReader reader = CheckpointReader::Open(folder.path());
  EXPECT_EQ(reader.names(), (std::vector<std::string>{"Float", "viewed"}));
  EXPECT_EQ(Values(reader.Get("viewed"))[0], 2);
  index("v3");
  EXPECT_ERROR(CheckpointReader::Open(folder.path()), "a tensor that is not in it");
}

TEST(TorchFile, SaysWhatItRefuses) {
  EXPECT_ERROR(TorchFile::Open(TestData("torch/compressed.bin")), "compressed or encrypted");
  EXPECT_ERROR(TorchFile::Open(TestData("torch/big_endian.bin")), "big-endian");
  TemporaryFolder folder;
  const auto open = [&](const std::string& bytes) { TorchFile::Open(Put(folder.path() / "x.bin", bytes)); };
  EXPECT_ERROR(open(""), "neither a ZIP archive nor a pickle");
  EXPECT_ERROR(open("tar file"), "neither a ZIP archive nor a pickle");
  EXPECT_ERROR(open("PK\3\4"), "without its table of contents");
  EXPECT_ERROR(open("\x80\x02}."), "torch.save did not write");
  EXPECT_ERROR(open("\x80\x02"
                    "cos\nsystem\n\x8c\x02ls\x85R."),
               "\"os.system\"");
  const std::string whole = Slurp(TestData("torch/zip.bin"));
  EXPECT_ERROR(open(whole.substr(0, whole.size() / 2)), "without its table of contents");
  std::string called = whole;  // the same length, so that the archive stays whole
  const std::string harmless = "torch._utils\n_rebuild_tensor_v3";
  called.replace(called.find(harmless), harmless.size(), "subprocess__\nPopen_____________");
  EXPECT_ERROR(open(called), "\"subprocess__.Popen_____________\"");
  EXPECT_ERROR(open(called), "x.bin");
}

// The legacy format around a table that the test writes.
std::string Legacy(const std::string& table, const std::string& keys, const std::string& data) {
  const std::string start = "\x80\x02";
  return start + "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + start + "M\xe9\x03." + start + "}." +
         start + table + "." + start + keys + "." + data;
}

std::string FloatTensor(const std::string& offset, const std::string& shape, const std::string& strides,
                        const std::string& count = "K\x04") {
  return "}\x8c\x01tctorch._utils\n_rebuild_tensor\n((\x8c\x07storagectorch\nFloatStorage\n\x8c\x01"
         "0\x8c\x03"
         "cpu" +
         count + "tQ" + offset + shape + strides + "tRs";
}

TEST(TorchFile, ChecksEverySizeAndOffset) {
  TemporaryFolder folder;
  const std::string data = LittleEndian<int64_t>(4) + std::string(16, 'd');
  const std::string keys =
      "(\x8c\x01"
      "0l";
  const auto open = [&](const std::string& table, const std::string& storages) {
    return CheckpointReader::Open(Put(folder.path() / "x.bin", Legacy(table, keys, storages)))
        .Get("t")
        .elements();
  };
  const std::string huge = "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
  const std::string one = "K\x01\x85";
  EXPECT_EQ(open(FloatTensor("K\x00"s, "K\x04\x85", one), data), 4);
  EXPECT_EQ(open(FloatTensor("K\x00"s, "K\x02K\x02\x86", "K\x01K\x02\x86"), data), 4);
  const char* const leaves = "leaves its storage";
  EXPECT_ERROR(open(FloatTensor("K\x01", "K\x04\x85", one), data), leaves);
  EXPECT_ERROR(open(FloatTensor(huge, "K\x04\x85", one), data), leaves);
  EXPECT_ERROR(open(FloatTensor("K\x00"s, "K\x02\x85", huge + "\x85"), data), leaves);
  EXPECT_ERROR(open(FloatTensor("K\x00"s, huge + huge + "\x86", "K\x00K\x00\x86"s), data), leaves);
  EXPECT_ERROR(open(FloatTensor("K\x00"s, huge + "\x85", "K\x00\x85"s), data), leaves);
  EXPECT_ERROR(open(FloatTensor("K\x00"s, "K\x09\x85", "K\x00\x85"s), data), "repeats the 16 bytes");
  EXPECT_ERROR(open(FloatTensor("K\x00"s, "K\x04\x85", "K\x01K\x01\x86"), data), "2 strides");
  EXPECT_ERROR(open(FloatTensor("J\xff\xff\xff\xff", "K\x04\x85", one), data), "no offset of a tensor");
  EXPECT_ERROR(open(FloatTensor("K\x00"s, "J\xff\xff\xff\xff\x85", one), data), "no shape of a tensor");
  EXPECT_ERROR(open(FloatTensor("K\x00"s, "K\x04\x85", one, huge), data), "a storage of");
  EXPECT_ERROR(open(FloatTensor("K\x00"s, "K\x04\x85", one, "K\x05"), data), "the table says 5 elements");
  EXPECT_ERROR(open(FloatTensor("K\x00"s, "K\x04\x85", one), data.substr(0, 20)), "leaves the file");
  EXPECT_ERROR(open(FloatTensor("K\x00"s, "K\x04\x85", one), LittleEndian<int64_t>(-1) + data),
               "leaves the file");
  EXPECT_ERROR(open("}", data), "a storage that no tensor uses");
}

}  // namespace torch_file_test
}  // namespace gptq
