// Damaged files, thousands of them, from a fixed seed: each is read or refused with an Error; nothing else
// happens.
#include <functional>

#include "base/convert.h"
#include "io/checkpoint.h"
#include "tests/io/file_builders.h"
#include "tests/test_util.h"

namespace gptq {
namespace mutation_test {

std::string Mutated(std::string bytes, std::mt19937& random) {
  const auto below = [&](size_t limit) { return limit == 0 ? 0 : random() % limit; };
  const size_t changes = 1 + below(4);
  for (size_t i = 0; i < changes && !bytes.empty(); ++i) {
    const size_t at = below(bytes.size());
    switch (below(6)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << below(8));
        break;
      case 1:
        bytes[at] = static_cast<char>(random());
        break;
      case 2:
        bytes[at] = static_cast<char>(below(2) == 0 ? 0xff : 0);
        break;
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.insert(at, 1 + below(9), static_cast<char>(random()));
        break;
      case 5:
        bytes.replace(at, std::min<size_t>(8, bytes.size() - at), 8, static_cast<char>(0xff));
        break;
    }
  }
  return bytes;
}

// How many mutants were read. Reading touches every byte of every tensor.
int CountReadable(const std::string& file_name, const std::string& original, int mutants) {
  TemporaryFolder folder;
  std::mt19937 random(7);
  int readable = 0;
  for (int i = 0; i < mutants; ++i) {
    const std::filesystem::path path = Put(folder.path() / file_name, Mutated(original, random));
    try {
      const CheckpointReader reader = CheckpointReader::Open(path);
      for (const std::string& name : reader.names()) {
        const Tensor values = ToFloat(reader.Get(name));
        EXPECT_EQ(values.elements(), reader.Get(name).elements());
      }
      ++readable;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(folder.path().string()), std::string::npos) << e.what();
    }
  }
  return readable;
}

TEST(Mutation, Safetensors) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]},"c":{"dtype":"I8","shape":[],"data_offsets":[24,25]}})";
  const int readable = CountReadable("x.safetensors", SafetensorsBytes(header, std::string(25, 'd')), 5000);
  EXPECT_GT(readable, 20);
  EXPECT_LT(readable, 2500);
}

TEST(Mutation, Gguf) {
  const int readable = CountReadable("x.gguf", RichGguf(), 5000);
  EXPECT_GT(readable, 20);
  EXPECT_LT(readable, 4000);
}

TEST(Mutation, TorchArchive) {
  const int readable = CountReadable("x.bin", Slurp(TestData("torch/zip.bin")), 3000);
  EXPECT_GT(readable, 20);
  EXPECT_LT(readable, 2500);
}

TEST(Mutation, TorchLegacy) {
  const int readable = CountReadable("x.bin", Slurp(TestData("torch/legacy.bin")), 3000);
  EXPECT_GT(readable, 20);
  EXPECT_LT(readable, 2500);
}

TEST(Mutation, Index) {
  TemporaryFolder folder;
  Put(folder.path() / "a.safetensors",
      SafetensorsBytes(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  const std::string index = R"({"metadata":{"total_size":1},"weight_map":{"t":"a.safetensors"}})";
  std::mt19937 random(8);
  for (int i = 0; i < 2000; ++i) {
    Put(folder.path() / "model.safetensors.index.json", Mutated(index, random));
    try {
      EXPECT_EQ(CheckpointReader::Open(folder.path()).names().size(), 1u);
    } catch (const Error&) {
    }
  }
}

}  // namespace mutation_test
}  // namespace gptq
