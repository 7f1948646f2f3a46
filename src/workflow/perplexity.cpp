#include "workflow/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace gptq {
namespace {

constexpr int64_t kLogitRows = 256;  // rows of logits held at once

double Mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

std::vector<double> TokenLosses(const Decoder& decoder, std::span<const int32_t> ids, int64_t first) {
  const auto count = static_cast<int64_t>(ids.size());
  Matrix hidden = decoder.Run(ids, count);
  std::vector<double> losses(static_cast<size_t>(count - 1 - first));
  for (int64_t row = first; row < count - 1; row += kLogitRows) {
    const int64_t rows = std::min(kLogitRows, count - 1 - row);
    Matrix logits = decoder.Logits(hidden.view().Rows(row, rows));
    decoder.backend().NegativeLogLikelihood(
        logits.view(), ids.subspan(static_cast<size_t>(row + 1), static_cast<size_t>(rows)),
        std::span(losses).subspan(static_cast<size_t>(row - first), static_cast<size_t>(rows)));
  }
  return losses;
}

PerplexityResult MeasurePerplexity(const Decoder& decoder, const Tokenizer& tokenizer, std::string_view text,
                                   std::string_view text_name, const PerplexityOptions& options,
                                   Progress& progress) {
  const bool second_half = options.protocol == "llama.cpp";
  if (!second_half && options.protocol != "gptq") {
    throw UsageError(Concat("--protocol ", options.protocol, " is not known; known are gptq, llama.cpp"));
  }
  std::vector<int32_t> ids = tokenizer.TemplateBefore();
  const std::vector<int32_t> encoded = tokenizer.Encode(text);
  ids.insert(ids.end(), encoded.begin(), encoded.end());
  const int64_t length = std::min(options.sequence_length, decoder.max_tokens());
  if (length < 2) throw UsageError("--sequence-length must be at least 2");
  const int64_t available = static_cast<int64_t>(ids.size()) / length;
  if (available == 0) {
    throw Error(Concat("the text has ", ids.size(), " tokens, one window needs ", length), text_name,
                "give a longer text or a smaller --sequence-length");
  }
  const int64_t windows = options.windows == 0 ? available : std::min(options.windows, available);

  std::vector<double> all;
  std::vector<double> window_means;
  progress.Stage("evaluate", windows);
  for (int64_t w = 0; w < windows; ++w) {
    std::vector<int32_t> window(ids.begin() + w * length, ids.begin() + (w + 1) * length);
    if (second_half && !tokenizer.TemplateBefore().empty()) window[0] = tokenizer.TemplateBefore().front();
    const std::vector<double> losses = TokenLosses(decoder, window, second_half ? length / 2 : 0);
    window_means.push_back(Mean(losses));
    all.insert(all.end(), losses.begin(), losses.end());
    if (!std::isfinite(window_means.back())) {
      throw Error(Concat("the model's output is not finite in window ", w), decoder.spec().where,
                  "the weights are damaged or overflow; fetch the model again");
    }
    progress.Step(w + 1);
  }
  PerplexityResult result;
  result.negative_log_likelihood = Mean(window_means);
  result.perplexity = std::exp(result.negative_log_likelihood);
  double squares = 0;
  for (const double loss : all)
    squares += (loss - result.negative_log_likelihood) * (loss - result.negative_log_likelihood);
  const auto n = static_cast<double>(all.size());
  result.standard_error = n > 1 ? std::sqrt(squares / (n - 1) / n) : 0;
  result.tokens = static_cast<int64_t>(all.size());
  result.windows = windows;
  result.sequence_length = length;
  return result;
}

}  // namespace gptq
