// What docs/architectures.md says is true.
#include <fstream>

#include "tests/workflow/workflow_fixtures.h"

namespace gptq {
namespace architecture_example_test {

namespace fs = std::filesystem;

std::string Document() { return ReadTextFile(fs::path(GPTQ_SOURCE_DIR) / "docs/architectures.md"); }

TEST(ArchitectureExample, GivesTheLogitsOfTransformers) {
  const std::string text = Document();
  const size_t begin = text.find("```json\n") + 8;
  TemporaryFolder folder;
  std::ofstream(folder.path() / "my.json") << text.substr(begin, text.find("```", begin) - begin);
  const fs::path model = TestData("models/qwen3");
  const SafetensorsFile golden = SafetensorsFile::Open(model / "golden.safetensors");
  const auto files = ModelFiles::Open(model, folder.path() / "my.json");
  EXPECT_EQ(files->spec().architecture, "my_qwen3");
  const auto backend = MakeCpuBackend(2);
  const LogitsResult result = ComputeLogits(*files, *backend, golden.Get("input_ids"), "golden", false);
  EXPECT_LT(Distance(result.logits, golden.Get("logits")), 2e-5);
}

TEST(ArchitectureExample, EveryModelIsInTheTable) {
  const std::string text = Document();
  for (const std::string& name : GoldenModels())
    EXPECT_NE(text.find("\n| " + name + " |"), std::string::npos) << name;
}

// A field that no code reads would be a lie.
TEST(ArchitectureExample, EveryFieldOfTheFilesIsDescribed) {
  const std::string text = Document();
  for (const EmbeddedArchitecture& file : EmbeddedArchitectures()) {
    const Architecture architecture = ParseArchitecture(file.text, file.name);
    for (const char* table : {"fields", "tensors"}) {
      for (const auto& [name, rule] : architecture.json.at(table).items())
        EXPECT_NE(text.find("`" + name + "`"), std::string::npos) << file.name << ": " << name;
    }
  }
}

}  // namespace architecture_example_test
}  // namespace gptq
