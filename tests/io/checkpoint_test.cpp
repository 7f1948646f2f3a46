#include "io/checkpoint.h"

#include <cstring>

#include "tests/io/file_builders.h"
#include "tests/test_util.h"

namespace gptq {
namespace checkpoint_test {

namespace fs = std::filesystem;

std::string OneTensor(const std::string& name, const std::string& data) {
  return SafetensorsBytes("{\"" + name + R"(":{"dtype":"U8","shape":[)" + std::to_string(data.size()) +
                              R"(],"data_offsets":[0,)" + std::to_string(data.size()) + "]}}",
                          data);
}

class Checkpoint : public ::testing::Test {
 protected:
  const fs::path& folder() const { return folder_.path(); }
  void PutFile(const std::string& name, std::string_view bytes) { Put(folder() / name, bytes); }
  void PutIndex(const std::string& weight_map, const std::string& name = "model.safetensors.index.json") {
    PutFile(name, R"({"metadata":{"total_size":1},"weight_map":)" + weight_map + "}");
  }
  CheckpointReader Open() { return CheckpointReader::Open(folder()); }

 private:
  TemporaryFolder folder_;
};

TEST(CheckpointGolden, ReadsShards) {
  const CheckpointReader reader = CheckpointReader::Open(TestData("models/llama_sharded"));
  EXPECT_EQ(reader.names().size(), 21u);
  EXPECT_TRUE(std::is_sorted(reader.names().begin(), reader.names().end()));
  EXPECT_EQ(reader.tensor_bytes(), 117216);  // metadata.total_size of its index
  EXPECT_EQ(reader.Get("model.layers.1.mlp.gate_proj.weight").shape, (Shape{96, 48}));
  EXPECT_EQ(reader.Get("lm_head.weight").dtype, DType::kF16);
  EXPECT_THAT(reader.FileOf("model.layers.1.mlp.gate_proj.weight"),
              ::testing::EndsWith("model-00003-of-00003.safetensors"));
  EXPECT_EQ(reader.metadata().at("format"), "pt");
  EXPECT_EQ(reader.gguf(), nullptr);
  EXPECT_EQ(reader.folder(), TestData("models/llama_sharded"));
  EXPECT_FALSE(reader.Find("model.layers.2.mlp.gate_proj.weight"));
  EXPECT_ERROR(reader.Get("none"), "no tensor \"none\"");

  const SafetensorsFile shard =
      SafetensorsFile::Open(TestData("models/llama_sharded/model-00003-of-00003.safetensors"));
  for (const auto& [name, view] : shard.tensors()) {
    ASSERT_EQ(reader.Get(name).shape, view.shape);
    EXPECT_EQ(std::memcmp(reader.Get(name).data, view.data, static_cast<size_t>(view.bytes())), 0) << name;
  }
}

TEST(CheckpointGolden, ReadsGguf) {
  const CheckpointReader reader = CheckpointReader::Open(TestData("formats/gguf/tiny128-Q4_0.gguf"));
  ASSERT_NE(reader.gguf(), nullptr);
  EXPECT_EQ(reader.gguf()->String("general.architecture"), "llama");
  EXPECT_EQ(reader.names().size(), reader.gguf()->tensors().size());
  EXPECT_EQ(reader.Get("blk.0.attn_q.weight").dtype, DType::kQ4_0);
  EXPECT_EQ(reader.folder(), TestData("formats/gguf"));
  EXPECT_THAT(reader.FileOf("blk.0.attn_q.weight"), ::testing::EndsWith("tiny128-Q4_0.gguf"));
}

TEST(CheckpointGolden, ReleasedPagesAreReadAgain) {
  const CheckpointReader reader = CheckpointReader::Open(TestData("formats/gguf/tiny128-F16.gguf"));
  const TensorView view = reader.Get("token_embd.weight");
  const std::string before(reinterpret_cast<const char*>(view.data), static_cast<size_t>(view.bytes()));
  reader.Release("token_embd.weight");
  reader.Release("no such tensor");
  EXPECT_EQ(std::memcmp(view.data, before.data(), before.size()), 0);
}

TEST_F(Checkpoint, FindsTheFileOfAFolder) {
  PutFile("gptq_model-4bit-128g.safetensors", OneTensor("odd", "1"));
  EXPECT_EQ(Open().names(), (std::vector<std::string>{"odd"}));
  PutFile("b.safetensors", OneTensor("b", "22"));
  EXPECT_ERROR(Open(), "2 .safetensors files and 0 index files");
  PutIndex(R"({"b":"b.safetensors","odd":"gptq_model-4bit-128g.safetensors"})",
           "gptq_model.safetensors.index.json");
  EXPECT_EQ(Open().names(), (std::vector<std::string>{"b", "odd"}));
  PutIndex(R"({"b":"b.safetensors"})");
  EXPECT_EQ(Open().names(), (std::vector<std::string>{"b"}));
  PutFile("model.safetensors", OneTensor("whole", "333"));
  EXPECT_EQ(Open().names(), (std::vector<std::string>{"whole"}));
  EXPECT_EQ(CheckpointReader::Open(folder() / "b.safetensors").names(), (std::vector<std::string>{"b"}));
  EXPECT_EQ(CheckpointReader::Open(folder() / "b.safetensors").folder(), folder());
}

TEST_F(Checkpoint, SaysWhatIsMissing) {
  EXPECT_ERROR(CheckpointReader::Open(folder() / "none"), "no such file or folder");
  EXPECT_ERROR(Open(), "a folder without model.safetensors");
  PutFile("a.gguf", "");
  EXPECT_ERROR(Open(), "give the .gguf file itself");
  EXPECT_ERROR(CheckpointReader::Open(folder() / "a.gguf"), "not a GGUF file");
  PutFile("pytorch_model.bin", "PK");
  EXPECT_ERROR(Open(), "neither a ZIP archive nor a pickle");
  EXPECT_ERROR(CheckpointReader::Open(folder() / "pytorch_model.bin"), "neither a ZIP archive nor a pickle");
  fs::rename(folder() / "pytorch_model.bin", folder() / "optimizer.bin");
  EXPECT_ERROR(Open(), "give the file with the weights");
  PutFile("model.safetensors", "");
  EXPECT_ERROR(Open(), "model.safetensors");
}

TEST_F(Checkpoint, ChecksTheIndex) {
  PutFile("a.safetensors", OneTensor("a", "1"));
  PutFile("b.safetensors", OneTensor("b", "2"));
  PutIndex(R"({"a":"a.safetensors","b":"c.safetensors"})");
  EXPECT_ERROR(Open(), "shard \"c.safetensors\" is missing");
  PutIndex(R"({"a":"a.safetensors","b":"a.safetensors"})");
  EXPECT_ERROR(Open(), "tensor \"b\"");
  PutIndex(R"({"a":3})");
  EXPECT_ERROR(Open(), "not a file name");
  for (const char* map : {"{}", "[]", "3", "null"}) {
    PutIndex(map);
    EXPECT_ERROR(Open(), "without weight_map");
  }
  for (const char* index : {"", "[]", "{}", "{", "\"x\""}) {
    PutFile("model.safetensors.index.json", index);
    EXPECT_ERROR(Open(), "model.safetensors.index.json");
  }
}

TEST_F(Checkpoint, KeepsShardsInsideTheFolder) {
  fs::create_directory(folder() / "inner");
  PutFile("secret.safetensors", OneTensor("a", "1"));
  const fs::path inner = folder() / "inner";
  const std::string absolute = (folder() / "secret.safetensors").string();
  for (const std::string& shard : {std::string("../secret.safetensors"), absolute, std::string(".."),
                                   std::string(), std::string("sub/../../secret.safetensors"),
                                   std::string("a\\\\b"), std::string("a.safetensors\\u0000/../x")}) {
    Put(inner / "model.safetensors.index.json", R"({"weight_map":{"a":")" + shard + "\"}}");
    EXPECT_ERROR(CheckpointReader::Open(inner), "not a plain file name");
  }
}

TEST_F(Checkpoint, FollowsLinks) {  // as the cache of downloaded models has them
  fs::create_directory(folder() / "blobs");
  fs::create_directory(folder() / "snapshot");
  Put(folder() / "blobs" / "0123", OneTensor("a", "1"));
  fs::create_symlink("../blobs/0123", folder() / "snapshot" / "model.safetensors");
  EXPECT_EQ(CheckpointReader::Open(folder() / "snapshot").names(), (std::vector<std::string>{"a"}));
}

TEST_F(Checkpoint, RefusesPartsOfASplitGguf) {
  PutFile("part.gguf",
          GgufBytes::Header(0, 1) + GgufBytes::Key("split.count", 2) + LittleEndian<uint16_t>(3));
  EXPECT_ERROR(CheckpointReader::Open(folder() / "part.gguf"), "one of 3 parts");
}

}  // namespace checkpoint_test
}  // namespace gptq
