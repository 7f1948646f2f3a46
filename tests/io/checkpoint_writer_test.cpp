#include "io/checkpoint_writer.h"

#include <cstring>

#include "base/json.h"
#include "io/checkpoint.h"
#include "io/safetensors_writer.h"
#include "tests/io/file_builders.h"
#include "tests/test_util.h"

namespace gptq {
namespace checkpoint_writer_test {

namespace fs = std::filesystem;

// Tensors of odd sizes and all plain types, with bytes that follow from their names.
std::vector<TensorDeclaration> Declarations() {
  return {{"layer.1.zeros", DType::kI32, {3}},     {"layer.1.mask", DType::kU8, {7}},
          {"layer.1.weight", DType::kF16, {5, 3}}, {"layer.1.scales", DType::kF32, {1, 5}},
          {"layer.0.long", DType::kI64, {2}},      {"layer.0.empty", DType::kBF16, {0, 4}},
          {"layer.0.scalar", DType::kF64, {}},     {"layer.0.names\"\n", DType::kI8, {1}}};
}

Tensor Content(const TensorDeclaration& declaration) {
  Tensor tensor(declaration.dtype, declaration.shape);
  for (int64_t i = 0; i < tensor.bytes(); ++i) {
    tensor.data()[i] = static_cast<std::byte>(declaration.name.size() * 31 + static_cast<size_t>(i));
  }
  return tensor;
}

void WriteAll(CheckpointWriter& writer, std::vector<TensorDeclaration> declarations) {
  std::reverse(declarations.begin(), declarations.end());
  for (const TensorDeclaration& declaration : declarations) {
    writer.Write(declaration.name, Content(declaration).view());
  }
}

void ExpectContent(const CheckpointReader& reader) {
  EXPECT_EQ(reader.names().size(), Declarations().size());
  for (const TensorDeclaration& declaration : Declarations()) {
    const TensorView view = reader.Get(declaration.name);
    const Tensor expected = Content(declaration);
    EXPECT_EQ(view.dtype, declaration.dtype);
    EXPECT_EQ(view.shape, declaration.shape);
    EXPECT_TRUE(view.bytes() == 0 ||
                std::memcmp(view.data, expected.data(), static_cast<size_t>(view.bytes())) == 0);
    const auto address = reinterpret_cast<uintptr_t>(view.data);
    EXPECT_EQ(address % static_cast<uintptr_t>(Info(view.dtype).block_bytes), 0u) << declaration.name;
  }
}

class Writer : public ::testing::Test {
 protected:
  const fs::path& folder() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

TEST_F(Writer, RoundTripOfOneFile) {
  CheckpointWriter writer(folder(), Declarations());
  WriteAll(writer, Declarations());
  writer.Finish();
  EXPECT_EQ(writer.files(), (std::vector<fs::path>{folder() / "model.safetensors"}));
  EXPECT_FALSE(fs::exists(folder() / "model.safetensors.index.json"));
  const CheckpointReader reader = CheckpointReader::Open(folder());
  ExpectContent(reader);
  EXPECT_EQ(reader.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  EXPECT_EQ(reader.tensor_bytes(), writer.total_bytes());
}

TEST_F(Writer, RoundTripOfShards) {
  CheckpointWriter writer(folder(), Declarations(), {.max_shard_bytes = 32});
  WriteAll(writer, Declarations());
  EXPECT_FALSE(fs::exists(folder() / "model.safetensors.index.json"));  // only a finished checkpoint has one
  writer.Finish();
  const size_t shards = writer.files().size();
  EXPECT_GT(shards, 2u);
  EXPECT_EQ(writer.FileOf("layer.1.zeros"), "model-00001-of-0000" + std::to_string(shards) + ".safetensors");
  const CheckpointReader reader = CheckpointReader::Open(folder());
  ExpectContent(reader);
  const Json index = ReadJsonFile(folder() / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], reader.tensor_bytes());
  EXPECT_EQ(index["weight_map"].size(), Declarations().size());
  for (const fs::path& file : writer.files()) {
    const SafetensorsFile shard = SafetensorsFile::Open(file);
    int64_t bytes = 0;
    for (const auto& [name, view] : shard.tensors()) {
      bytes += view.bytes();
      EXPECT_EQ(index["weight_map"][name], file.filename().string());
    }
    EXPECT_LE(bytes, 32);
    EXPECT_EQ((static_cast<int64_t>(fs::file_size(file)) - bytes) % 64, 0);
  }
}

TEST_F(Writer, SameInputSameBytes) {
  for (const char* name : {"a", "b"}) {
    fs::create_directory(folder() / name);
    CheckpointWriter writer(folder() / name, Declarations(), {.max_shard_bytes = 40});
    WriteAll(writer, Declarations());
    writer.Finish();
  }
  for (const auto& entry : fs::directory_iterator(folder() / "a")) {
    EXPECT_EQ(Slurp(entry.path()), Slurp(folder() / "b" / entry.path().filename()));
  }
}

TEST_F(Writer, GoesOnWhereAnEarlierOneStopped) {
  const std::vector<TensorDeclaration> declarations = Declarations();
  CheckpointWriter::Options options{.max_shard_bytes = 32};
  {
    CheckpointWriter first(folder(), declarations, options);
    first.Write(declarations[0].name, Content(declarations[0]).view());
    first.Write(declarations[5].name, Content(declarations[5]).view());
    first.Flush();
  }
  options.resume = true;
  CheckpointWriter second(folder(), declarations, options);
  second.MarkWritten(declarations[0].name);
  second.MarkWritten(declarations[5].name);
  EXPECT_EQ(std::memcmp(second.Read(declarations[0].name).data(), Content(declarations[0]).data(), 12), 0);
  for (size_t i = 0; i < declarations.size(); ++i) {
    if (i != 0 && i != 5) second.Write(declarations[i].name, Content(declarations[i]).view());
  }
  second.Finish();
  ExpectContent(CheckpointReader::Open(folder()));
}

TEST_F(Writer, TakesTensorsInPieces) {
  const std::vector<TensorDeclaration> declarations = Declarations();
  CheckpointWriter writer(folder(), declarations);
  // One byte of each in turn.
  for (int64_t at = 0, written = 1; written > 0; ++at) {
    written = 0;
    for (const TensorDeclaration& declaration : declarations) {
      const Tensor content = Content(declaration);
      if (at < content.bytes()) {
        writer.Append(declaration.name, std::span(content.data() + at, 1));
        ++written;
      } else if (at == 0) {
        writer.Append(declaration.name, {});
      }
    }
  }
  writer.Finish();
  ExpectContent(CheckpointReader::Open(folder()));
}

TEST_F(Writer, RefusesToGoOnWithSomethingElse) {
  { const CheckpointWriter first(folder(), Declarations()); }
  EXPECT_ERROR(CheckpointWriter(folder(), Declarations()), "model.safetensors");  // exists
  EXPECT_ERROR(CheckpointWriter(folder(), {{"x", DType::kF32, {3}}}, {.resume = true}), "--restart");
  EXPECT_ERROR(CheckpointWriter(folder(), Declarations(), {.max_shard_bytes = 32, .resume = true}),
               "model-00001-of");
  fs::resize_file(folder() / "model.safetensors", 100);
  EXPECT_ERROR(CheckpointWriter(folder(), Declarations(), {.resume = true}), "--restart");
}

TEST_F(Writer, ChecksItsCallers) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const Tensor wrong(DType::kF32, {2});
  const Tensor right(DType::kF32, {3});
  CheckpointWriter writer(folder(), {{"x", DType::kF32, {3}}});
  EXPECT_DEATH(writer.Write("x", wrong.view()), "CHECK");
  EXPECT_DEATH(writer.Write("y", right.view()), "CHECK");
  EXPECT_DEATH(writer.Finish(), "CHECK");
  writer.Write("x", right.view());
  EXPECT_DEATH(writer.Write("x", right.view()), "CHECK");
  writer.Finish();
}

TEST_F(Writer, OneCallWritesAFile) {
  const TensorDeclaration a{"a", DType::kU8, {3}}, b{"b", DType::kF32, {2}};
  const Tensor a_content = Content(a), b_content = Content(b);
  const fs::path path = folder() / "x.safetensors";
  Put(path, std::string(10'000, 'o'));  // replaced
  WriteSafetensors(path, {{"a", a_content.view()}, {"b", b_content.view()}});
  const SafetensorsFile file = SafetensorsFile::Open(path);
  EXPECT_TRUE(file.metadata().empty());
  EXPECT_EQ(std::memcmp(file.Get("a").data, a_content.data(), 3), 0);
  EXPECT_EQ(std::memcmp(file.Get("b").data, b_content.data(), 8), 0);
  EXPECT_TRUE(file.Get("b").Aligned<float>());
  WriteSafetensors(path, {}, {{"key", "value"}});
  EXPECT_EQ(SafetensorsFile::Open(path).metadata().at("key"), "value");
  EXPECT_ERROR(WriteSafetensors(folder() / "none" / "x.safetensors", {}), "none/x.safetensors");
}

}  // namespace checkpoint_writer_test
}  // namespace gptq
