#include "workflow/compare_tokens.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace gptq {
namespace {

constexpr int64_t kContextTokens = 24;  // shown before a token

int32_t CountShared(const std::array<int32_t, kTopTokens>& a, const std::array<int32_t, kTopTokens>& b) {
  return static_cast<int32_t>(std::ranges::count_if(
      a, [&](int32_t column) { return column >= 0 && std::ranges::find(b, column) != b.end(); }));
}

std::string TextOf(const Tokenizer& tokenizer, std::span<const int32_t> ids) {
  StreamingDecoder decoder(tokenizer, /*show_special=*/true, /*continues=*/true);
  std::string text;
  for (const int32_t id : ids) text += decoder.Next(id);
  return text + decoder.Finish();
}

}  // namespace

std::array<int32_t, kTopTokens> TopColumns(std::span<const float> row) {
  std::array<int32_t, kTopTokens> top;
  top.fill(-1);
  int kept = 0;
  for (size_t column = 0; column < row.size(); ++column) {
    const float value = row[column];
    if (kept == kTopTokens && !(value > row[static_cast<size_t>(top.back())])) continue;
    int place = std::min(kept, kTopTokens - 1);
    kept = std::min(kept + 1, kTopTokens);
    for (; place > 0 && value > row[static_cast<size_t>(top[place - 1])]; --place)
      top[place] = top[place - 1];
    top[place] = static_cast<int32_t>(column);
  }
  return top;
}

void MeasureTokens(Backend& backend, MatrixView a, MatrixView b, std::span<const int32_t> targets,
                   std::span<TokenDifference> out) {
  CHECK(out.size() == targets.size());
  std::vector<LogitDifference> differences(targets.size());
  std::vector<double> loss_a(targets.size()), loss_b(targets.size());
  backend.CompareLogits(a, b, differences);
  backend.NegativeLogLikelihood(a, targets, loss_a);
  backend.NegativeLogLikelihood(b, targets, loss_b);
  Matrix copy_a, copy_b;
  a = backend.Readable(a, copy_a);
  b = backend.Readable(b, copy_b);
  backend.pool().ParallelFor(a.rows, [&](int64_t r) {
    const auto i = static_cast<size_t>(r);
    const auto row_of = [&](MatrixView logits) {
      return std::span<const float>(logits.data + r * logits.columns, static_cast<size_t>(logits.columns));
    };
    const std::span<const float> row_a = row_of(a), row_b = row_of(b);
    const auto top_a = TopColumns(row_a), top_b = TopColumns(row_b);
    const auto target = static_cast<size_t>(targets[i]);
    const auto probability = [&](std::span<const float> row, int32_t column, double loss) {
      return std::exp(double{row[static_cast<size_t>(column)]} - row[target] - loss);
    };
    out[i] = {differences[i].divergence,
              loss_a[i],
              loss_b[i],
              probability(row_a, top_a[0], loss_a[i]),
              probability(row_b, top_b[0], loss_b[i]),
              top_a[0],
              top_b[0],
              CountShared(top_a, top_b)};
  });
}

std::vector<WorstToken> FindWorstTokens(std::span<const TokenDifference> tokens, const TextWindows& windows,
                                        const Tokenizer& tokenizer, int64_t count) {
  std::vector<size_t> order(tokens.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto end = order.begin() + std::min<std::ptrdiff_t>(count, std::ssize(order));
  std::ranges::partial_sort(order, end, [&](size_t x, size_t y) {
    return tokens[x].divergence != tokens[y].divergence ? tokens[x].divergence > tokens[y].divergence : x < y;
  });
  std::vector<WorstToken> worst;
  for (auto it = order.begin(); it != end; ++it) {
    const auto predicted = windows.length - 1, index = static_cast<int64_t>(*it);
    WorstToken& entry = worst.emplace_back();
    entry.window = index / predicted;
    entry.position = index % predicted + 1;
    entry.difference = tokens[*it];
    const std::span<const int32_t> ids = windows.window(entry.window);
    const int64_t shown = std::min(entry.position, kContextTokens);
    entry.context = TextOf(
        tokenizer, ids.subspan(static_cast<size_t>(entry.position - shown), static_cast<size_t>(shown)));
    entry.token = TextOf(tokenizer, ids.subspan(static_cast<size_t>(entry.position), 1));
    entry.top_a = TextOf(tokenizer, std::span(&entry.difference.top_a, 1));
    entry.top_b = TextOf(tokenizer, std::span(&entry.difference.top_b, 1));
  }
  return worst;
}

}  // namespace gptq
