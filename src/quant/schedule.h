// In which pieces the column loop runs: the same for all rows, worked out once.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/factor.h"
#include "quant/options.h"

namespace gptq {

// Positions [begin, end) of the order whose columns belong to one group.
struct GroupRun {
  int64_t begin = 0, end = 0;
  int32_t group = 0;
  std::vector<float> triangle;  // of U, as TileKernels::solve wants it; only where the clip search needs it
  std::vector<float> pivots;    // [end - begin] of U, likewise
};

// Columns that the plain loop solves one by one; the rest of the block is then updated by a product.
struct Step {
  int64_t begin = 0, end = 0;
  std::vector<float> triangle;
  const GroupRun* grid = nullptr;  // the group whose grid is found first
};

// Columns whose effect on all later ones is gathered in one product.
struct LazyBlock {
  int64_t begin = 0, end = 0;
  std::vector<const GroupRun*> grids;  // found before the block's first column (GroupGrid::kReference)
  std::vector<Step> steps;
};

class Schedule {
 public:
  // `static_grids`: all grids are found before the loop, no group has to be contiguous.
  Schedule(const InverseFactor& factor, const SolverOptions& options, bool static_grids);
  Schedule(const Schedule&) = delete;
  Schedule& operator=(const Schedule&) = delete;

  const std::vector<LazyBlock>& blocks() const { return blocks_; }
  int64_t longest_run() const { return longest_run_; }

 private:
  void FindRuns(const InverseFactor& factor, const SolverOptions& options);
  int64_t BlockEnd(int64_t begin, int64_t columns, const SolverOptions& options) const;
  void AddSteps(const InverseFactor& factor, bool stale, LazyBlock* block) const;
  std::vector<GroupRun>::const_iterator RunFrom(int64_t position) const;

  std::vector<GroupRun> runs_;
  std::vector<LazyBlock> blocks_;
  int64_t longest_run_ = 0;
};

}  // namespace gptq
