// The order in which columns are solved, and which columns share a grid.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/hessian.h"
#include "quant/options.h"

namespace gptq {

struct ColumnOrder {
  std::vector<int32_t> columns;      // [positions]: the column solved at each position
  std::vector<int32_t> group_index;  // [columns]: the group of each column
  int64_t groups = 0;
  bool contiguous = true;  // the columns of a group stand side by side in the order
};

// `diagonal` [columns]: H's diagonal, 0 for dead inputs. Ties keep the given order.
// Natural: as given. Activation: falling diagonal (dead inputs count as 1, as in the published program);
// groups are runs of that order, or with static groups runs of the given one. Group: see Order::kGroup; the
// last group may be short, wherever it comes.
ColumnOrder MakeOrder(const SolverOptions& options, std::span<const float> diagonal);

// For Order::kPivot, instead of the diagonal: the place of each column in the order that takes, from the last
// position to the first, the column of least pivot of what is left (arXiv 2507.18553); greater = solved
// earlier. O(columns³) on one thread.
std::vector<float> PivotRanks(const HessianView& hessian, double damping);

// As given, for methods without H.
ColumnOrder NaturalOrder(const SolverOptions& options, int64_t columns);

}  // namespace gptq
