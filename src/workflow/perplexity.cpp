#include "workflow/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/hash.h"
#include "workflow/statistics.h"
#include "workflow/text_windows.h"

namespace gptq {
namespace {

// The text that counted tokens decode to.
struct TextSize {
  int64_t bytes = 0, words = 0;

  void Add(const Tokenizer& tokenizer, std::span<const int32_t> ids) {
    StreamingDecoder decoder(tokenizer, /*show_special=*/true, /*continues=*/true);
    std::string text;
    for (const int32_t id : ids) text += decoder.Next(id);
    text += decoder.Finish();
    bytes += static_cast<int64_t>(text.size());
    words += CountWords(text);
  }
};

// Of a window of `tokens` of which `predicted` go through the head.
double WindowFlops(const Decoder& decoder, int64_t tokens, int64_t predicted) {
  const ModelSpec& spec = decoder.spec();
  const auto count = static_cast<double>(tokens);
  const double attention = static_cast<double>(spec.layers * spec.query_width()) * (count + 1);
  const auto head = static_cast<double>(spec.vocabulary * spec.embedding_width);
  return 2 * (count * (decoder.MultipliedWeights() + attention) + static_cast<double>(predicted) * head);
}

void CheckProtocol(const PerplexityOptions& options) {
  if (options.protocol == "gptq") return;
  if (options.protocol != "llama.cpp")
    throw UsageError(Concat("--protocol ", options.protocol, " is not known; known are gptq, llama.cpp"));
  if (options.stride != 0) throw UsageError("--stride goes with --protocol gptq");
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
  CheckProtocol(options);
  decoder.spec().CheckPredictsNext();
  const TextWindows windows = CutIntoWindows(TokenizeText(tokenizer, text), text_name,
                                             std::min(options.sequence_length, decoder.max_tokens()),
                                             options.windows, options.stride);
  NoteMissingWindows(windows, options.windows, text_name, progress);
  std::vector<double> all, window_means;
  TextSize size;
  double seconds = 0, flops = 0;
  progress.Stage("evaluate", windows.count);
  for (int64_t w = 0; w < windows.count; ++w) {
    std::vector<int32_t> window(windows.window(w).begin(), windows.window(w).end());
    if (second_half && !tokenizer.TemplateBefore().empty()) window[0] = tokenizer.TemplateBefore().front();
    int64_t first = second_half ? windows.length / 2 : 0;
    if (w > 0) first = std::max(first, windows.length - windows.stride - 1);
    const auto start = std::chrono::steady_clock::now();
    const std::vector<double> losses = TokenLosses(decoder, window, first);
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    flops += WindowFlops(decoder, windows.length, std::ssize(losses));
    window_means.push_back(Mean(losses));
    all.insert(all.end(), losses.begin(), losses.end());
    size.Add(tokenizer, std::span(window).subspan(static_cast<size_t>(first) + 1));
    if (!std::isfinite(window_means.back())) {
      throw Error(Concat("the model's output is not finite in window ", w), decoder.spec().where,
                  "the weights are damaged or overflow; fetch the model again");
    }
    progress.Step(w + 1);
  }
  PerplexityResult result;
  // Overlapping windows count different numbers of tokens.
  result.negative_log_likelihood = windows.stride < windows.length ? Mean(all) : Mean(window_means);
  result.perplexity = std::exp(result.negative_log_likelihood);
  result.standard_error = StandardError(all);
  result.perplexity_standard_error = result.perplexity * result.standard_error;
  result.tokens = static_cast<int64_t>(all.size());
  result.bytes = size.bytes;
  result.words = size.words;
  const double bits = result.negative_log_likelihood * static_cast<double>(result.tokens) / std::log(2.0);
  result.bits_per_byte = bits / static_cast<double>(std::max<int64_t>(1, size.bytes));
  result.bits_per_word = bits / static_cast<double>(std::max<int64_t>(1, size.words));
  result.windows = windows.count;
  result.sequence_length = windows.length;
  result.stride = windows.stride;
  result.seconds = seconds;
  result.flops = flops;
  result.text_hash = HashText(text);
  return result;
}

}  // namespace gptq
