#include "workflow/perplexity.h"

#include <algorithm>
#include <cmath>

#include "workflow/statistics.h"
#include "workflow/text_windows.h"

namespace gptq {
namespace {

constexpr int64_t kLogitRows = 256;  // rows of logits held at once

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
  const TextWindows windows =
      CutIntoWindows(TokenizeText(tokenizer, text), text_name,
                     std::min(options.sequence_length, decoder.max_tokens()), options.windows);
  std::vector<double> all;
  std::vector<double> window_means;
  progress.Stage("evaluate", windows.count);
  for (int64_t w = 0; w < windows.count; ++w) {
    std::vector<int32_t> window(windows.window(w).begin(), windows.window(w).end());
    if (second_half && !tokenizer.TemplateBefore().empty()) window[0] = tokenizer.TemplateBefore().front();
    const std::vector<double> losses = TokenLosses(decoder, window, second_half ? windows.length / 2 : 0);
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
  result.standard_error = StandardError(all);
  result.tokens = static_cast<int64_t>(all.size());
  result.windows = windows.count;
  result.sequence_length = windows.length;
  return result;
}

}  // namespace gptq
