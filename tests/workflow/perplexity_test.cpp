#include "workflow/perplexity.h"

#include <cmath>

#include "tests/workflow/workflow_fixtures.h"

namespace gptq {
namespace {

class Perplexity : public testing::Test {
 protected:
  Perplexity()
      : files_(ModelFiles::Open(Stories())),
        backend_(MakeCpuBackend(2)),
        decoder_(files_->LoadDecoder(*backend_, 128)),
        tokenizer_(files_->LoadTokenizer()),
        text_(ReadTextFile(std::filesystem::path(GPTQ_SOURCE_DIR) / "data/tinystories/evaluation.txt")
                  .substr(0, 4000)) {}

  // Losses from whole logits in float64, the obvious way.
  std::vector<double> SlowLosses(const std::vector<int32_t>& ids) {
    Matrix hidden = decoder_->Run(ids, static_cast<int64_t>(ids.size()));
    Matrix logits = decoder_->Logits(hidden.view());
    std::vector<double> losses;
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      const float* row = logits.data() + static_cast<int64_t>(t) * logits.columns();
      double sum = 0;
      for (int64_t v = 0; v < logits.columns(); ++v) sum += std::exp(static_cast<double>(row[v]));
      losses.push_back(std::log(sum) - row[ids[t + 1]]);
    }
    return losses;
  }

  std::unique_ptr<ModelFiles> files_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Decoder> decoder_;
  Tokenizer tokenizer_;
  std::string text_;
  SilentProgress progress_;
};

TEST_F(Perplexity, ProtocolsAsDefined) {
  std::vector<int32_t> ids = tokenizer_.EncodeWithSpecialTokens(text_);
  PerplexityOptions options;
  options.sequence_length = 128;
  options.windows = 3;
  double gptq = 0, llama = 0;
  for (int64_t w = 0; w < 3; ++w) {
    std::vector<int32_t> window(ids.begin() + w * 128, ids.begin() + (w + 1) * 128);
    for (const double loss : SlowLosses(window)) gptq += loss / 127 / 3;
    window[0] = tokenizer_.TemplateBefore().front();
    const std::vector<double> losses = SlowLosses(window);
    for (size_t t = 64; t < losses.size(); ++t) llama += losses[t] / 63 / 3;
  }
  PerplexityResult result = MeasurePerplexity(*decoder_, tokenizer_, text_, "text", options, progress_);
  EXPECT_NEAR(result.negative_log_likelihood, gptq, 1e-5);
  EXPECT_NEAR(result.perplexity, std::exp(gptq), 1e-4);
  EXPECT_EQ(result.tokens, 3 * 127);
  options.protocol = "llama.cpp";
  result = MeasurePerplexity(*decoder_, tokenizer_, text_, "text", options, progress_);
  EXPECT_NEAR(result.negative_log_likelihood, llama, 1e-5);
  EXPECT_EQ(result.tokens, 3 * 63);
}

TEST_F(Perplexity, TextShorterThanAWindowIsAnError) {
  PerplexityOptions options;
  EXPECT_ERROR(MeasurePerplexity(*decoder_, tokenizer_, "Once", "short.txt", options, progress_),
               "short.txt");
}

TEST_F(Perplexity, NoMoreWindowsThanTheTextHas) {
  PerplexityOptions options;
  options.sequence_length = 128;
  options.windows = 1000000;
  EXPECT_LT(MeasurePerplexity(*decoder_, tokenizer_, text_, "text", options, progress_).windows, 100);
}

}  // namespace
}  // namespace gptq
