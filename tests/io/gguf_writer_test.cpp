#include "io/gguf_writer.h"

#include "io/checkpoint_writer.h"
#include "tests/test_util.h"

namespace gptq {
namespace gguf_writer_test {

GgufMetadata Metadata() {
  return {{"general.architecture", GgufString("llama")},
          {"llama.block_count", GgufUint32(4000000000)},
          {"llama.rope.freq_base", GgufFloat32(0.1)},
          {"tokenizer.ggml.add_bos_token", GgufBool(true)},
          {"tokenizer.ggml.tokens", GgufStrings({"a", "", "c d"})},
          {"tokenizer.ggml.scores", GgufFloats({1.5f, -2, 0})},
          {"tokenizer.ggml.token_type", GgufInt32s({1, -1, 6})},
          {"bytes", GgufUint8s("a\xFF")},
          {"empty", GgufStrings({})},
          {"i8", {GgufType::kInt8, GgufType::kInt8, int64_t{-5}}},
          {"u64", {GgufType::kUint64, GgufType::kUint64, uint64_t{1} << 63}},
          {"i16s", {GgufType::kArray, GgufType::kInt16, std::vector<int64_t>{-300, 300}}},
          {"f64", {GgufType::kFloat64, GgufType::kFloat64, 0.1}}};
}

const std::vector<TensorDeclaration> kTensors = {{"blk.0.attn_q.weight", DType::kQ4_0, {3, 64}},
                                                 {"output_norm.weight", DType::kF32, {5}},
                                                 {"token_embd.weight", DType::kQ6_K, {2, 256}},
                                                 {"empty", DType::kF16, {0, 4}},
                                                 {"blk.0.attn_v.weight", DType::kF16, {7, 3}}};

Tensor Content(const TensorDeclaration& declaration) {
  Tensor tensor(declaration.dtype, declaration.shape);
  for (int64_t i = 0; i < tensor.bytes(); ++i)
    tensor.data()[i] = static_cast<std::byte>(declaration.name.size() * 7 + static_cast<size_t>(i));
  return tensor;
}

void ExpectFile(const GgufFile& file) {
  EXPECT_EQ(file.metadata().size(), Metadata().size());
  for (const auto& [key, value] : Metadata()) {
    const GgufValue* read = file.FindValue(key);
    ASSERT_NE(read, nullptr) << key;
    EXPECT_EQ(read->type, value.type) << key;
    EXPECT_EQ(read->element_type, value.element_type) << key;
    if (key == "llama.rope.freq_base") {
      EXPECT_EQ(std::get<double>(read->value), double{0.1f});
    } else {
      EXPECT_EQ(read->value, value.value) << key;
    }
  }
  EXPECT_EQ(file.FindBytes("bytes"), "a\xFF");
  EXPECT_FALSE(file.FindBytes("none").has_value());
  EXPECT_ERROR(file.FindBytes("i16s"), "array of bytes expected");
  EXPECT_ERROR(file.FindBytes("i8"), "array of bytes expected");
  EXPECT_EQ(file.tensors().size(), kTensors.size());
  for (const TensorDeclaration& declaration : kTensors) {
    const TensorView view = file.Get(declaration.name);
    const Tensor content = Content(declaration);
    EXPECT_EQ(view.dtype, declaration.dtype);
    EXPECT_EQ(view.shape, declaration.shape);
    EXPECT_TRUE(std::equal(view.data, view.data + view.bytes(), content.data())) << declaration.name;
  }
}

TEST(GgufWriter, WritesWhatTheReaderReads) {
  TemporaryFolder folder;
  const auto path = folder.path() / "model.gguf";
  CheckpointWriter writer = CheckpointWriter::Gguf(path, Metadata(), kTensors, false);
  for (auto tensor = kTensors.rbegin(); tensor != kTensors.rend(); ++tensor)
    writer.Write(tensor->name, Content(*tensor).view());
  writer.Finish();
  ExpectFile(GgufFile::Open(path));
  EXPECT_EQ(LayOutGguf(kTensors, Metadata()).offsets[1] % 32, 0);
}

TEST(GgufWriter, GoesOnWithAnEarlierFile) {
  TemporaryFolder folder;
  const auto path = folder.path() / "model.gguf";
  {
    CheckpointWriter writer = CheckpointWriter::Gguf(path, Metadata(), kTensors, false);
    writer.Write(kTensors[0].name, Content(kTensors[0]).view());
    writer.Flush();
  }
  EXPECT_ERROR(CheckpointWriter::Gguf(path, {}, kTensors, true), "unfinished output of another run");
  CheckpointWriter writer = CheckpointWriter::Gguf(path, Metadata(), kTensors, true);
  writer.MarkWritten(kTensors[0].name);
  for (size_t i = 1; i < kTensors.size(); ++i) writer.Write(kTensors[i].name, Content(kTensors[i]).view());
  writer.Finish();
  ExpectFile(GgufFile::Open(path));
}

TEST(GgufWriter, KeepsTheAlignmentOfTheMetadata) {
  const TensorFileLayout layout = LayOutGguf(kTensors, {{"general.alignment", GgufUint32(128)}});
  for (const int64_t offset : layout.offsets) EXPECT_EQ(offset % 128, 0);
}

}  // namespace gguf_writer_test
}  // namespace gptq
