// Families in GGUF: what llama.cpp's converter wrote, and what we write and read again, against the Hugging
// Face folder.
#include <fstream>

#include "model/gguf_layout.h"
#include "tests/workflow/workflow_fixtures.h"
#include "workflow/convert.h"
#include "workflow/quantize.h"

namespace gptq {
namespace gguf_models_test {

namespace fs = std::filesystem;

void WriteText(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A tokenizer of a few letters, which GGUF files cannot be without.
void AddTokenizer(const fs::path& folder) {
  Json vocabulary = Json::object();
  for (int id = 0; id < 26; ++id) vocabulary[std::string(1, static_cast<char>('a' + id))] = id;
  const Json tokenizer{
      {"added_tokens", Json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}}};
  WriteText(folder / "tokenizer.json", Dump(tokenizer));
}

// A golden model with a tokenizer and, in its config, other values for some keys.
void CopyModel(const std::string& name, const fs::path& folder, const Json& changes) {
  fs::create_directories(folder);
  for (const auto& entry : fs::directory_iterator(TestData("models/" + name))) {
    const std::string file = entry.path().filename().string();
    if (!file.starts_with("config.") && file != "golden.safetensors") fs::copy(entry.path(), folder / file);
  }
  Json config = ReadJsonFile(TestData("models/" + name) / "config.hub.json");
  config.merge_patch(changes);
  WriteText(folder / "config.json", Dump(config));
  AddTokenizer(folder);
}

Tensor Logits(const fs::path& model, const std::string& golden) {
  return GoldenRun(model, SafetensorsFile::Open(TestData("models/" + golden) / "golden.safetensors")).logits;
}

void ConvertTo(const fs::path& model, const fs::path& output, WeightFormat format) {
  ConvertOptions options;
  options.model = model;
  options.output = output;
  options.format = format;
  options.type = DType::kF32;
  if (format == WeightFormat::kGguf) options.ends = {DType::kF32, DType::kF32};
  const auto backend = MakeCpuBackend(2);
  SilentProgress progress;
  Convert(options, *backend, progress);
}

// What has no GGUF form, and what the error says of it.
const std::map<std::string, std::string> kWithout = {
    {"dream", "no GGUF form"},          {"falcon_rw_12_heads", "alibi"},   {"falcon_rw_style", "alibi"},
    {"gpt_neo", "no GGUF form"},        {"gptj", "no GGUF form"},          {"llada", "no GGUF form"},
    {"opt_125m_style", "no GGUF form"}, {"opt_350m_style", "no GGUF form"}};

class WrittenAsGguf : public testing::TestWithParam<std::string> {};

TEST_P(WrittenAsGguf, ComputesTheSameThereAndBackAgain) {
  TemporaryFolder folder;
  const fs::path source = folder.path() / "source", gguf = folder.path() / "model.gguf",
                 back = folder.path() / "back";
  CopyModel(GetParam(), source, Json::object());
  if (const auto without = kWithout.find(GetParam()); without != kWithout.end()) {
    EXPECT_ERROR(ConvertTo(source, gguf, WeightFormat::kGguf), without->second);
    return;
  }
  ConvertTo(source, gguf, WeightFormat::kGguf);
  ConvertTo(gguf, back, WeightFormat::kPlain);
  const Tensor expected = Logits(source, GetParam()), in_gguf = Logits(gguf, GetParam());
  EXPECT_TRUE(SameBytes(Logits(back, GetParam()), in_gguf));
  // The source's 16 bits go through other kernels than the same values as float32.
  EXPECT_LT(Distance(in_gguf, expected.view()), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(All, WrittenAsGguf, testing::ValuesIn(GoldenModels()),
                         [](const auto& parameter) { return parameter.param; });

struct LlamaCppFile {
  std::string name;
  Json differs;  // of the config: what llama.cpp's files do not hold, and what its program computes instead
};

void PrintTo(const LlamaCppFile& file, std::ostream* out) { *out << file.name; }

class WrittenByLlamaCpp : public testing::TestWithParam<LlamaCppFile> {};

TEST_P(WrittenByLlamaCpp, ComputesWhatTheFolderDoes) {
  const auto& [name, differs] = GetParam();
  TemporaryFolder folder;
  CopyModel(name, folder.path() / "source", differs);
  const Tensor expected = Logits(folder.path() / "source", name);
  EXPECT_LT(Distance(Logits(TestData("gguf_models/" + name + ".gguf"), name), expected.view()), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(
    All, WrittenByLlamaCpp,
    testing::Values(
        LlamaCppFile{"bloom", Json::object()}, LlamaCppFile{"cohere_qk_norm", Json::object()},
        LlamaCppFile{"cohere2", Json{{"sliding_window_pattern", 4}}},
        LlamaCppFile{"deepseek_v2_style", Json::object()},
        LlamaCppFile{"deepseek_v3_yarn", Json{{"rope_scaling", {{"mscale", 0.7}}}}},
        LlamaCppFile{"exaone4", Json::object()}, LlamaCppFile{"falcon_40b_style", Json::object()},
        LlamaCppFile{"falcon_7b_style", Json::object()},
        LlamaCppFile{"gemma2", Json{{"query_pre_attn_scalar", 24}}},
        LlamaCppFile{"gemma3_text", Json{{"query_pre_attn_scalar", 24}, {"sliding_window_pattern", 6}}},
        LlamaCppFile{"glm4", Json::object()}, LlamaCppFile{"gpt2", Json::object()},
        LlamaCppFile{"gpt_bigcode", Json{{"activation_function", "gelu_pytorch_tanh"}}},
        LlamaCppFile{"gpt_neox", Json::object()}, LlamaCppFile{"granite", Json::object()},
        LlamaCppFile{"llama_rope_llama3", Json::object()}, LlamaCppFile{"llama_rope_yarn", Json::object()},
        LlamaCppFile{"mistral", Json{{"sliding_window", nullptr}}}, LlamaCppFile{"mixtral", Json::object()},
        LlamaCppFile{"mpt_6_heads", Json::object()},
        LlamaCppFile{"nemotron", Json{{"partial_rotary_factor", 0.375}}},
        LlamaCppFile{"olmo", Json::object()}, LlamaCppFile{"olmo2", Json::object()},
        LlamaCppFile{"olmoe", Json::object()}, LlamaCppFile{"phi", Json::object()},
        LlamaCppFile{"phi3_longrope_long", Json::object()}, LlamaCppFile{"phi4_mini_style", Json::object()},
        LlamaCppFile{"qwen2", Json::object()}, LlamaCppFile{"qwen2_moe", Json::object()},
        LlamaCppFile{"qwen3", Json::object()}, LlamaCppFile{"qwen3_moe", Json::object()},
        LlamaCppFile{"smollm3", Json{{"no_rope_layers", {1, 1, 1}}}},
        LlamaCppFile{"stablelm", Json::object()},
        LlamaCppFile{"starcoder2", Json{{"sliding_window", nullptr}}}),
    [](const auto& parameter) { return parameter.param.name; });

class QuantizedAsGguf : public testing::TestWithParam<const char*> {};

// Fused rows, transposed linears, experts in one tensor, joined keys and values.
TEST_P(QuantizedAsGguf, ReadsBack) {
  TemporaryFolder folder;
  CopyModel(GetParam(), folder.path() / "source", Json::object());
  QuantizeOptions options;
  options.model = folder.path() / "source";
  options.output = folder.path() / "model.gguf";
  options.solver.bits = 4;
  options.solver.group_size = 32;
  options.format = WeightFormat::kGguf;
  const SafetensorsFile golden =
      SafetensorsFile::Open(TestData(std::string("models/") + GetParam()) / "golden.safetensors");
  options.calibration.file = TestData(std::string("models/") + GetParam()) / "golden.safetensors";
  options.calibration.sink_sequences = 0;
  const auto backend = MakeCpuBackend(2);
  SilentProgress progress;
  const QuantizeReport report = Quantize(options, *backend, progress);
  ASSERT_TRUE(report.self_check);
  EXPECT_LT(report.self_check->relative_error, 1e-3);
  EXPECT_LT(Distance(GoldenRun(options.output, golden).logits, golden.Get("logits")), 2);
}

INSTANTIATE_TEST_SUITE_P(All, QuantizedAsGguf, testing::Values("mixtral", "gpt_neox", "olmoe"),
                         [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace gguf_models_test
}  // namespace gptq
