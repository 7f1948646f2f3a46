#include "workflow/compare.h"

#include <algorithm>
#include <cmath>

#include "workflow/reference_states.h"
#include "workflow/statistics.h"
#include "workflow/text_windows.h"

namespace gptq {
namespace {

constexpr int64_t kLogitRows = 256;  // rows of logits held at once, of each model

// One value per predicted token.
struct TokenMeasures {
  std::vector<double> divergence, loss_a, loss_b;
  int64_t same_top = 0;
};

void CheckVocabularies(const ModelSpec& a, const ModelSpec& b) {
  if (a.vocabulary == b.vocabulary) return;
  throw Error(Concat("vocabularies of different sizes, ", a.vocabulary, " and ", b.vocabulary),
              Concat(a.where, " and ", b.where), "compare models with the same tokens");
}

std::vector<int32_t> CommonTokens(const ModelFiles& a, const ModelFiles& b, std::string_view text) {
  std::vector<int32_t> ids = TokenizeText(a.LoadTokenizer(), text);
  const std::vector<int32_t> other = TokenizeText(b.LoadTokenizer(), text);
  const auto [at, other_at] = std::mismatch(ids.begin(), ids.end(), other.begin(), other.end());
  if (at == ids.end() && other_at == other.end()) return ids;
  throw Error(Concat("the two tokenizers differ from token ", at - ids.begin(), " of the text on"),
              Concat(a.reader().path().string(), " and ", b.reader().path().string()),
              "compare models with the same tokenizer");
}

void CheckFinite(std::span<const double> values, int64_t window, const std::string& where) {
  if (std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); })) return;
  throw Error(Concat("the model's output is not finite in window ", window), where,
              "the weights are damaged or overflow; fetch the model again");
}

void CompareWindow(ReferenceStates& reference, const Decoder& decoder, std::span<const int32_t> ids,
                   int64_t window, TokenMeasures& measures) {
  const int64_t predicted = static_cast<int64_t>(ids.size()) - 1;
  const auto done = measures.divergence.size();
  for (std::vector<double>* values : {&measures.divergence, &measures.loss_a, &measures.loss_b})
    values->resize(done + static_cast<size_t>(predicted));
  Matrix hidden_a = reference.Hidden(window);
  Matrix hidden_b = decoder.Run(ids, predicted + 1);
  std::vector<LogitDifference> differences;
  for (int64_t row = 0; row < predicted; row += kLogitRows) {
    const int64_t rows = std::min(kLogitRows, predicted - row);
    const auto part = [&](std::vector<double>& values) {
      return std::span(values).subspan(done + static_cast<size_t>(row), static_cast<size_t>(rows));
    };
    const auto targets = ids.subspan(static_cast<size_t>(row + 1), static_cast<size_t>(rows));
    Matrix a = reference.Logits(hidden_a.view().Rows(row, rows));
    Matrix b = decoder.Logits(hidden_b.view().Rows(row, rows));
    Backend& backend = decoder.backend();
    backend.NegativeLogLikelihood(a.view(), targets, part(measures.loss_a));
    backend.NegativeLogLikelihood(b.view(), targets, part(measures.loss_b));
    differences.resize(static_cast<size_t>(rows));
    backend.CompareLogits(a.view(), b.view(), differences);
    std::transform(differences.begin(), differences.end(), part(measures.divergence).begin(),
                   [](const LogitDifference& d) { return d.divergence; });
    measures.same_top += std::count_if(differences.begin(), differences.end(),
                                       [](const LogitDifference& d) { return d.same_top; });
  }
}

CompareResult Summarize(const TokenMeasures& measures) {
  const size_t tokens = measures.divergence.size();
  std::vector<double> difference(tokens);
  std::transform(measures.loss_b.begin(), measures.loss_b.end(), measures.loss_a.begin(), difference.begin(),
                 std::minus<>());
  CompareResult result;
  result.kl_mean = Mean(measures.divergence);
  result.kl_standard_error = StandardError(measures.divergence);
  result.kl_median = Quantile(measures.divergence, 0.5);
  result.kl_p99 = Quantile(measures.divergence, 0.99);
  result.top1_agreement = static_cast<double>(measures.same_top) / static_cast<double>(tokens);
  // All windows have the same length, so that the mean over windows of the mean is the mean.
  result.perplexity_a = std::exp(Mean(measures.loss_a));
  result.perplexity_b = std::exp(Mean(measures.loss_b));
  result.perplexity_ratio = std::exp(Mean(difference));
  result.perplexity_ratio_standard_error = result.perplexity_ratio * StandardError(difference);
  result.tokens = static_cast<int64_t>(tokens);
  return result;
}

}  // namespace

CompareResult CompareModels(ModelFiles& a, ModelFiles& b, Backend& backend, std::string_view text,
                            std::string_view text_name, const CompareOptions& options, Progress& progress) {
  CheckVocabularies(a.spec(), b.spec());
  const int64_t length = std::min({options.sequence_length, a.spec().max_positions, b.spec().max_positions});
  const TextWindows windows = CutIntoWindows(CommonTokens(a, b, text), text_name, length, options.windows);
  ReferenceStates reference(a, backend, windows, options.reference_cache);
  const std::unique_ptr<Decoder> decoder = b.LoadDecoder(backend, length);

  TokenMeasures measures;
  progress.Stage("compare", windows.count);
  for (int64_t w = 0; w < windows.count; ++w) {
    CompareWindow(reference, *decoder, windows.window(w), w, measures);
    const auto last = [&](const std::vector<double>& values) {
      return std::span(values).last(static_cast<size_t>(length - 1));
    };
    CheckFinite(last(measures.loss_a), w, a.spec().where);
    CheckFinite(last(measures.loss_b), w, b.spec().where);
    CheckFinite(last(measures.divergence), w, Concat(a.spec().where, " or ", b.spec().where));
    progress.Step(w + 1);
  }
  reference.Commit();
  CompareResult result = Summarize(measures);
  result.windows = windows.count;
  result.sequence_length = length;
  result.reference_from_cache = reference.from_cache();
  return result;
}

}  // namespace gptq
