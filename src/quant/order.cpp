#include "quant/order.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace gptq {
namespace {

ColumnOrder ActivationOrder(const SolverOptions& options, std::span<const float> diagonal) {
  const auto columns = static_cast<int64_t>(diagonal.size());
  ColumnOrder order = NaturalOrder(options, columns);
  const auto weight = [&](int32_t c) { return diagonal[c] == 0.0f ? 1.0f : diagonal[c]; };
  std::stable_sort(order.columns.begin(), order.columns.end(),
                   [&](int32_t a, int32_t b) { return weight(a) > weight(b); });
  if (options.static_groups) {
    order.contiguous = order.groups == 1;
    return order;
  }
  const int64_t size = options.GroupColumns(columns);
  for (int64_t p = 0; p < columns; ++p) order.group_index[order.columns[p]] = static_cast<int32_t>(p / size);
  return order;
}

ColumnOrder GroupAwareOrder(const SolverOptions& options, std::span<const float> diagonal) {
  const auto columns = static_cast<int64_t>(diagonal.size());
  ColumnOrder order = NaturalOrder(options, columns);
  const int64_t size = options.GroupColumns(columns);
  const auto heavier = [&](int32_t a, int32_t b) { return diagonal[a] > diagonal[b]; };
  std::vector<int32_t> first(static_cast<size_t>(order.groups));  // the heaviest column of each group
  for (int64_t g = 0; g < order.groups; ++g) {
    const auto begin = order.columns.begin() + g * size;
    std::stable_sort(begin, order.columns.begin() + std::min((g + 1) * size, columns), heavier);
    first[g] = *begin;
  }
  std::stable_sort(first.begin(), first.end(), heavier);
  std::vector<int32_t> solved;
  solved.reserve(order.columns.size());
  for (const int32_t column : first) {
    const int64_t begin = order.group_index[column] * size;
    solved.insert(solved.end(), order.columns.begin() + begin,
                  order.columns.begin() + std::min(begin + size, columns));
  }
  order.columns = std::move(solved);
  return order;
}

}  // namespace

std::vector<float> PivotRanks(const HessianView& hessian, double damping) {
  const int64_t n = hessian.columns;
  std::vector<float> a(static_cast<size_t>(n * n));
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += static_cast<double>(hessian.at(i, i)) / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) a[i * n + j] = hessian.at(i, j);
    a[i * n + i] += static_cast<float>(damping * mean);
  }
  std::vector<float> ranks(static_cast<size_t>(n));
  std::vector<int64_t> left(static_cast<size_t>(n));
  std::iota(left.begin(), left.end(), int64_t{0});
  for (int64_t rank = 1; rank <= n; ++rank) {
    const auto least = std::ranges::min_element(left, {}, [&](int64_t i) { return a[i * n + i]; });
    const int64_t p = *least;
    left.erase(least);
    ranks[p] = static_cast<float>(rank);
    const float* pivot_row = a.data() + p * n;
    if (!(pivot_row[p] > 0)) continue;
    for (const int64_t i : left) {
      const float factor = pivot_row[i] / pivot_row[p];
      if (factor == 0) continue;
      float* row = a.data() + i * n;
      for (int64_t j = 0; j < n; ++j) row[j] -= factor * pivot_row[j];
    }
  }
  return ranks;
}

ColumnOrder NaturalOrder(const SolverOptions& options, int64_t columns) {
  ColumnOrder order;
  order.groups = options.GroupCount(columns);
  order.columns.resize(static_cast<size_t>(columns));
  std::iota(order.columns.begin(), order.columns.end(), 0);
  order.group_index.resize(static_cast<size_t>(columns));
  const int64_t size = options.GroupColumns(columns);
  for (int64_t c = 0; c < columns; ++c) order.group_index[c] = static_cast<int32_t>(c / size);
  return order;
}

ColumnOrder MakeOrder(const SolverOptions& options, std::span<const float> diagonal) {
  switch (options.order) {
    case Order::kNatural:
      return NaturalOrder(options, static_cast<int64_t>(diagonal.size()));
    case Order::kActivation:
      return ActivationOrder(options, diagonal);
    case Order::kGroup:
      return GroupAwareOrder(options, diagonal);
    case Order::kPivot:
      return options.static_groups ? ActivationOrder(options, diagonal) : GroupAwareOrder(options, diagonal);
  }
  CHECK(false);
}

}  // namespace gptq
