#include "workflow/compare.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/hash.h"
#include "workflow/reference_states.h"
#include "workflow/statistics.h"
#include "workflow/text_windows.h"

namespace gptq {
namespace {

void CheckVocabularies(const ModelSpec& a, const ModelSpec& b) {
  if (a.vocabulary == b.vocabulary) return;
  throw Error(Concat("vocabularies of different sizes, ", a.vocabulary, " and ", b.vocabulary),
              Concat(a.where, " and ", b.where), "compare models with the same tokens");
}

// Windows of the text's tokens, which both tokenizers must make the same.
TextWindows CommonWindows(const ModelFiles& a, const ModelFiles& b, std::string_view text,
                          std::string_view text_name, int64_t length, int64_t count) {
  const auto cut = [&](const ModelFiles& model) {
    return CutIntoWindows(TokenizeText(model.LoadTokenizer(), text), text_name, length, count);
  };
  TextWindows windows = cut(a);
  const TextWindows other = cut(b);
  const auto at = std::ranges::mismatch(windows.ids, other.ids);
  if (at.in1 == windows.ids.end() && at.in2 == other.ids.end()) return windows;
  throw Error(
      Concat("the two tokenizers differ from token ", at.in1 - windows.ids.begin(), " of the text on"),
      Concat(a.reader().path().string(), " and ", b.reader().path().string()),
      "compare models with the same tokenizer");
}

std::vector<double> Values(std::span<const TokenDifference> tokens, double TokenDifference::*field) {
  std::vector<double> values(tokens.size());
  std::ranges::transform(tokens, values.begin(), [&](const TokenDifference& token) { return token.*field; });
  return values;
}

void CheckFinite(std::span<const TokenDifference> tokens, int64_t window, const std::string& where_a,
                 const std::string& where_b) {
  const auto check = [&](double TokenDifference::*field, const std::string& where) {
    if (std::ranges::all_of(tokens,
                            [&](const TokenDifference& token) { return std::isfinite(token.*field); }))
      return;
    throw Error(Concat("the model's output is not finite in window ", window), where,
                "the weights are damaged or overflow; fetch the model again");
  };
  check(&TokenDifference::loss_a, where_a);
  check(&TokenDifference::loss_b, where_b);
  check(&TokenDifference::divergence, Concat(where_a, " or ", where_b));
}

// Model B, block by block beside model A: the states of two blocks are all that is held.
class BlockWalk {
 public:
  explicit BlockWalk(Decoder& decoder) : decoder_(decoder), sums_(decoder.blocks().size()) {}

  void Begin(std::span<const int32_t> ids) {
    state_ = BlockState();
    state_.tokens = static_cast<int64_t>(ids.size());
    state_.hidden = decoder_.Embed(ids, state_.tokens);
    tokens_ += state_.tokens;
  }

  // `reference`: A's residual stream after the same block.
  void Next(int64_t block, MatrixView reference) {
    Backend& backend = decoder_.backend();
    decoder_.blocks()[static_cast<size_t>(block)].Forward(backend, decoder_.positions(), state_);
    Matrix reference_copy, copy;
    const float* const all_a = backend.Readable(reference, reference_copy).data;
    const float* const all_b = backend.Readable(state_.hidden.view(), copy).data;
    std::vector<double> errors(static_cast<size_t>(reference.rows));
    const int64_t width = reference.columns;
    backend.pool().ParallelFor(reference.rows, [&](int64_t r) {
      const float *a = all_a + r * width, *b = all_b + r * width;
      double difference = 0, norm = 0;
      for (int64_t c = 0; c < width; ++c) {
        difference += (double{b[c]} - a[c]) * (double{b[c]} - a[c]);
        norm += double{a[c]} * a[c];
      }
      errors[static_cast<size_t>(r)] = difference == 0 ? 0 : std::sqrt(difference / norm);
    });
    double& sum = sums_[static_cast<size_t>(block)];
    for (const double error : errors) sum += error;
  }

  Matrix TakeHidden() { return std::move(state_.hidden); }

  std::vector<double> Errors() const {
    std::vector<double> errors = sums_;
    for (double& error : errors) error /= static_cast<double>(tokens_);
    return errors;
  }

 private:
  Decoder& decoder_;
  BlockState state_;
  std::vector<double> sums_;  // over tokens, of each block
  int64_t tokens_ = 0;
};

// The last residual streams of both models.
struct HiddenPair {
  Matrix a, b;
};

HiddenPair RunWindow(ReferenceStates& reference, Decoder& decoder, BlockWalk* walk,
                     std::span<const int32_t> ids, int64_t window) {
  if (walk == nullptr) return {reference.Hidden(window), decoder.Run(ids, static_cast<int64_t>(ids.size()))};
  walk->Begin(ids);
  Matrix a = reference.Hidden(window, [&](int64_t block, MatrixView hidden) { walk->Next(block, hidden); });
  return {std::move(a), walk->TakeHidden()};
}

void CompareWindow(const ReferenceStates& reference, const Decoder& decoder, const HiddenPair& hidden,
                   std::span<const int32_t> ids, std::span<TokenDifference> out) {
  const auto predicted = static_cast<int64_t>(out.size());
  for (int64_t row = 0; row < predicted; row += kLogitRows) {
    const int64_t rows = std::min(kLogitRows, predicted - row);
    Matrix a = reference.Logits(hidden.a.view().Rows(row, rows));
    Matrix b = decoder.Logits(hidden.b.view().Rows(row, rows));
    MeasureTokens(decoder.backend(), a.view(), b.view(),
                  ids.subspan(static_cast<size_t>(row + 1), static_cast<size_t>(rows)),
                  out.subspan(static_cast<size_t>(row), static_cast<size_t>(rows)));
  }
}

CompareResult Summarize(std::span<const TokenDifference> tokens, int64_t vocabulary) {
  const std::vector<double> divergence = Values(tokens, &TokenDifference::divergence);
  const std::vector<double> loss_a = Values(tokens, &TokenDifference::loss_a);
  const std::vector<double> loss_b = Values(tokens, &TokenDifference::loss_b);
  std::vector<double> difference(tokens.size());
  std::ranges::transform(loss_b, loss_a, difference.begin(), std::minus<>());
  int64_t same_top = 0, shared_top = 0;
  for (const TokenDifference& token : tokens) {
    same_top += token.top_a == token.top_b;
    shared_top += token.shared_top;
  }
  const auto count = static_cast<double>(tokens.size());
  CompareResult result;
  result.kl_mean = Mean(divergence);
  result.kl_standard_error = StandardError(divergence);
  result.kl_median = Quantile(divergence, 0.5);
  result.kl_p99 = Quantile(divergence, 0.99);
  result.kl_p999 = Quantile(divergence, 0.999);
  result.top1_agreement = static_cast<double>(same_top) / count;
  result.top5_agreement = static_cast<double>(shared_top) /
                          (count * static_cast<double>(std::min<int64_t>(vocabulary, kTopTokens)));
  // All windows have the same length, so that the mean over windows of the mean is the mean.
  result.perplexity_a = std::exp(Mean(loss_a));
  result.perplexity_b = std::exp(Mean(loss_b));
  result.perplexity_a_standard_error = result.perplexity_a * StandardError(loss_a);
  result.perplexity_b_standard_error = result.perplexity_b * StandardError(loss_b);
  result.perplexity_ratio = std::exp(Mean(difference));
  result.perplexity_ratio_standard_error = result.perplexity_ratio * StandardError(difference);
  result.tokens = static_cast<int64_t>(tokens.size());
  return result;
}

}  // namespace

CompareResult CompareModels(ModelFiles& a, ModelFiles& b, Backend& backend, std::string_view text,
                            std::string_view text_name, const CompareOptions& options, Progress& progress) {
  CheckVocabularies(a.spec(), b.spec());
  const int64_t length = std::min({options.sequence_length, a.spec().max_positions, b.spec().max_positions});
  const TextWindows windows = CommonWindows(a, b, text, text_name, length, options.windows);
  NoteMissingWindows(windows, options.windows, text_name, progress);
  ReferenceStates reference(a, backend, windows, options.reference_cache);
  const std::unique_ptr<Decoder> decoder = b.LoadDecoder(backend, length);
  std::optional<BlockWalk> walk;
  if (!reference.from_cache() && a.spec().layers == b.spec().layers && a.spec().hidden == b.spec().hidden)
    walk.emplace(*decoder);

  std::vector<TokenDifference> tokens(static_cast<size_t>(windows.count * (length - 1)));
  progress.Stage("compare", windows.count);
  for (int64_t w = 0; w < windows.count; ++w) {
    const std::span<const int32_t> ids = windows.window(w);
    const auto part =
        std::span(tokens).subspan(static_cast<size_t>(w * (length - 1)), static_cast<size_t>(length - 1));
    CompareWindow(reference, *decoder, RunWindow(reference, *decoder, walk ? &*walk : nullptr, ids, w), ids,
                  part);
    CheckFinite(part, w, a.spec().where, b.spec().where);
    progress.Step(w + 1);
  }
  reference.Commit();
  CompareResult result = Summarize(tokens, a.spec().vocabulary);
  result.worst_tokens = FindWorstTokens(tokens, windows, a.LoadTokenizer(), options.worst_tokens);
  if (walk) result.block_errors = walk->Errors();
  result.windows = windows.count;
  result.sequence_length = length;
  result.text_hash = HashText(text);
  result.reference_from_cache = reference.from_cache();
  return result;
}

}  // namespace gptq
