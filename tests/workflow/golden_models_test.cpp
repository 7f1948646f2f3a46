// Whole decoders against the logits of transformers (tests/data/models, checkpoints, formats).
#include <fstream>

#include "tests/workflow/workflow_fixtures.h"

namespace gptq {
namespace {

constexpr double kTolerance = 2e-5;  // float32 in any order of summation reaches it

void ExpectGolden(const std::filesystem::path& model, const std::filesystem::path& golden_file) {
  const SafetensorsFile golden = SafetensorsFile::Open(golden_file);
  const LogitsResult result = GoldenRun(model, golden);
  EXPECT_LT(Distance(result.logits, golden.Get("logits")), kTolerance);
  for (size_t i = 0; i < result.hidden_states.size(); ++i) {
    const auto hidden = golden.Find("hidden_after_block_" + std::to_string(i));
    if (!hidden) continue;  // checkpoints have logits only
    EXPECT_LT(Distance(result.hidden_states[i], *hidden), kTolerance) << "block " << i;
  }
}

class GoldenModel : public testing::TestWithParam<const char*> {};

TEST_P(GoldenModel, Config) {
  const auto folder = TestData("models") / GetParam();
  ExpectGolden(folder, folder / "golden.safetensors");
}

TEST_P(GoldenModel, ConfigWithOldKeys) {
  const auto folder = TestData("models") / GetParam();
  TemporaryFolder copy;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name != "config.json")
      std::filesystem::copy(entry.path(), copy.path() / (name == "config.hub.json" ? "config.json" : name));
  }
  ExpectGolden(copy.path(), folder / "golden.safetensors");
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel,
                         testing::Values("llama", "llama_biases", "llama_gqa_tied_headdim",
                                         "llama_rope_linear", "llama_rope_llama3", "llama_rope_yarn",
                                         "llama_sharded", "opt_125m_style", "opt_350m_style"));

class GoldenCheckpoint : public testing::TestWithParam<const char*> {};

TEST_P(GoldenCheckpoint, WrittenByGptqModel) {
  const auto folder = TestData("checkpoints") / GetParam();
  ExpectGolden(folder, folder / "golden.safetensors");
}

INSTANTIATE_TEST_SUITE_P(All, GoldenCheckpoint,
                         testing::Values("base", "b2_g32_asym_v2", "b3_g32_asym_v2_desc_act", "b3_g64_sym_v1",
                                         "b4_g128_sym_v1", "b4_g32_asym_v1", "b4_g64_desc_act_v1",
                                         "b4_g64_sym_v2", "b8_row_sym_v1"));

class GoldenGguf : public testing::TestWithParam<const char*> {};

TEST_P(GoldenGguf, WrittenByLlamaCpp) {
  const std::string file = std::string("formats/gguf/") + GetParam();
  ExpectGolden(TestData(file + ".gguf"), TestData(file + ".golden.safetensors"));
}

INSTANTIATE_TEST_SUITE_P(All, GoldenGguf,
                         testing::Values("tiny128-F16", "tiny128-BF16", "tiny128-Q4_0", "tiny128-Q4_1",
                                         "tiny128-Q5_0", "tiny128-Q5_1", "tiny128-Q8_0", "tiny256-Q2_K",
                                         "tiny256-Q3_K_M", "tiny256-Q4_K_M", "tiny256-Q5_K_M",
                                         "tiny256-Q6_K"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(GoldenModels, ThreadsDoNotMatter) {
  const SafetensorsFile golden = SafetensorsFile::Open(TestData("models/llama/golden.safetensors"));
  const LogitsResult one = GoldenRun(TestData("models/llama"), golden, 1);
  for (const int threads : {2, 3}) {
    EXPECT_TRUE(SameBytes(one.logits, GoldenRun(TestData("models/llama"), golden, threads).logits));
  }
}

// Runs the same tokens once at a time and through a cache, in pieces.
TEST(GoldenModels, CacheGivesTheSameLogits) {
  for (const char* name : {"llama_gqa_tied_headdim", "opt_125m_style", "opt_350m_style"}) {
    const auto folder = TestData("models") / name;
    const SafetensorsFile golden = SafetensorsFile::Open(folder / "golden.safetensors");
    const auto files = ModelFiles::Open(folder);
    const auto backend = MakeCpuBackend(2);
    const TensorView ids = golden.Get("input_ids");
    const int64_t tokens = ids.shape[1];
    const auto decoder = files->LoadDecoder(*backend, tokens);
    KvCache cache(decoder->spec().layers, tokens, decoder->spec().kv_width());
    Tensor logits = Tensor::Uninitialized(DType::kF32, {tokens, decoder->spec().vocabulary});
    for (int64_t first = 0; first < tokens;) {
      const int64_t count = first == 0 ? 9 : 1;
      Matrix hidden = decoder->Run(
          ids.As<int32_t>().subspan(static_cast<size_t>(first), static_cast<size_t>(count)), cache);
      Matrix piece = decoder->Logits(hidden.view());
      std::copy_n(piece.data(), piece.view().elements(),
                  logits.As<float>().data() + first * decoder->spec().vocabulary);
      first += count;
    }
    TensorView first_sequence = golden.Get("logits");
    first_sequence.shape = {tokens, decoder->spec().vocabulary};
    EXPECT_LT(Distance(logits, first_sequence), kTolerance) << name;
  }
}

}  // namespace
}  // namespace gptq
