// Models by independent programs (tests/data/models) through the CUDA backend, in half precision.
#include "tests/cuda/cuda_fixtures.h"
#include "tests/workflow/workflow_fixtures.h"

namespace gptq {
namespace golden_test {

namespace fs = std::filesystem;

// Standard deviations of the logits; with a cache of float16.
constexpr double kTolerance = 2e-3, kHalfCacheTolerance = 5e-3;

class CudaGolden : public CudaTest, public testing::WithParamInterface<std::string> {
 protected:
  fs::path folder() const { return TestData("models") / GetParam(); }
};

TEST_P(CudaGolden, Logits) {
  const SafetensorsFile golden = SafetensorsFile::Open(folder() / "golden.safetensors");
  const auto files = ModelFiles::Open(folder());
  const LogitsResult result =
      ComputeLogits(*files, backend(), golden.Get("input_ids"), "golden", /*hidden_states=*/false);
  EXPECT_LT(Distance(result.logits, golden.Get("logits")), kTolerance);
}

// Tokens one at a time, which are recorded and done again, as alone.
TEST_P(CudaGolden, TokenByToken) {
  const auto files = ModelFiles::Open(folder());
  if (!files->spec().causal) GTEST_SKIP() << "predicts no next token";
  const SafetensorsFile golden = SafetensorsFile::Open(folder() / "golden.safetensors");
  const TensorView ids = golden.Get("input_ids");
  const int64_t tokens = has_time() ? ids.shape[1] : 4, vocabulary = files->spec().vocabulary;
  const auto decoder = files->LoadDecoder(backend(), tokens);
  for (const DType type : {DType::kF32, DType::kF16}) {
    KvCache cache = decoder->MakeCache(tokens, type);
    Tensor logits = Tensor::Uninitialized(DType::kF32, {tokens, vocabulary});
    Matrix row, readable;
    for (int64_t t = 0; t < tokens; ++t) {
      decoder->Logits(decoder->Run(ids.As<int32_t>().subspan(static_cast<size_t>(t), 1), cache), row);
      std::copy_n(backend().Readable(row.view(), readable).data, vocabulary,
                  logits.As<float>().data() + t * vocabulary);
    }
    TensorView expected = golden.Get("logits");  // the first tokens of the first text
    expected.shape = {tokens, vocabulary};
    EXPECT_LT(Distance(logits, expected), type == DType::kF32 ? kTolerance : kHalfCacheTolerance)
        << Name(type);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, CudaGolden,
                         testing::Values("llama", "opt_125m_style", "gemma2", "bloom", "mixtral",
                                         "deepseek_v3", "phi", "gpt2"),
                         [](const auto& test) { return test.param; });

}  // namespace golden_test
}  // namespace gptq
