#include "workflow/perplexity.h"

#include <cmath>

#include "tests/workflow/workflow_fixtures.h"
#include "workflow/statistics.h"

namespace gptq {
namespace perplexity_test {

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

TEST_F(Perplexity, StrideCountsEachTokenOnceWithLongContext) {
  const std::vector<int32_t> ids = tokenizer_.EncodeWithSpecialTokens(text_);
  PerplexityOptions options;
  options.sequence_length = 100;
  options.stride = 40;
  options.windows = 3;
  std::vector<double> losses;
  for (int64_t w = 0; w < 3; ++w) {
    const auto begin = ids.begin() + w * 40;
    const std::vector<double> all = SlowLosses({begin, begin + 100});
    losses.insert(losses.end(), w == 0 ? all.begin() : all.end() - 40, all.end());
  }
  ASSERT_EQ(losses.size(), 179u);
  double sum = 0;
  for (const double loss : losses) sum += loss;
  PerplexityResult result = MeasurePerplexity(*decoder_, tokenizer_, text_, "text", options, progress_);
  EXPECT_EQ(result.tokens, 179);
  EXPECT_EQ(result.windows, 3);
  EXPECT_NEAR(result.negative_log_likelihood, sum / 179, 1e-5);
  options.stride = 100;  // no overlap: the papers' protocol
  const double strided =
      MeasurePerplexity(*decoder_, tokenizer_, text_, "text", options, progress_).perplexity;
  options.stride = 0;
  EXPECT_EQ(strided, MeasurePerplexity(*decoder_, tokenizer_, text_, "text", options, progress_).perplexity);
  options.stride = 101;
  EXPECT_THROW(MeasurePerplexity(*decoder_, tokenizer_, text_, "text", options, progress_), UsageError);
  options.stride = 10;
  options.protocol = "llama.cpp";
  EXPECT_THROW(MeasurePerplexity(*decoder_, tokenizer_, text_, "text", options, progress_), UsageError);
}

TEST_F(Perplexity, BitsOfTheTextThatIsPredicted) {
  const std::vector<int32_t> ids = tokenizer_.EncodeWithSpecialTokens(text_);
  PerplexityOptions options;
  options.sequence_length = 128;
  options.windows = 1;
  const PerplexityResult result = MeasurePerplexity(*decoder_, tokenizer_, text_, "text", options, progress_);
  // The first token is <s>, which is not predicted; this text has no space before its first word.
  const std::string text = tokenizer_.Decode(std::span(ids).subspan(1, 127), false);
  EXPECT_EQ(text, text_.substr(0, text.size()));
  EXPECT_NEAR(static_cast<double>(result.bytes), static_cast<double>(text.size()), 1);
  EXPECT_EQ(result.words, CountWords(text));
  const double bits = result.negative_log_likelihood * 127 / std::log(2.0);
  EXPECT_DOUBLE_EQ(result.bits_per_byte, bits / static_cast<double>(result.bytes));
  EXPECT_DOUBLE_EQ(result.bits_per_word, bits / static_cast<double>(result.words));
  EXPECT_DOUBLE_EQ(result.perplexity_standard_error, result.perplexity * result.standard_error);
  text_.back() ^= 1;
  EXPECT_NE(MeasurePerplexity(*decoder_, tokenizer_, text_, "text", options, progress_).text_hash,
            result.text_hash);
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

}  // namespace perplexity_test
}  // namespace gptq
