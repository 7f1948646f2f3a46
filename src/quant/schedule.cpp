#include "quant/schedule.h"

#include <algorithm>

#include "base/error.h"
#include "quant/clip_search.h"

namespace gptq {
namespace {

constexpr int64_t kLongestStep = 64;

// U_ij of positions begin .. end at [j * count + i], i <= j.
std::vector<float> PackTriangle(const InverseFactor& factor, int64_t begin, int64_t end) {
  const int64_t count = end - begin, n = factor.columns();
  std::vector<float> triangle(static_cast<size_t>(count * count));
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = i; j < count; ++j) triangle[j * count + i] = factor.upper[(begin + i) * n + begin + j];
  }
  return triangle;
}

}  // namespace

Schedule::Schedule(const InverseFactor& factor, const SolverOptions& options, bool static_grids) {
  const int64_t columns = factor.columns();
  if (!static_grids) FindRuns(factor, options);
  for (int64_t begin = 0; begin < columns;) {
    LazyBlock block;
    block.begin = begin;
    block.end = begin = BlockEnd(begin, columns, options);
    const bool stale = options.group_grid == GroupGrid::kReference;
    if (stale) {
      for (auto run = RunFrom(block.begin); run != runs_.end() && run->begin < block.end; ++run)
        block.grids.push_back(&*run);
    }
    AddSteps(factor, stale, &block);
    blocks_.push_back(std::move(block));
  }
}

void Schedule::FindRuns(const InverseFactor& factor, const SolverOptions& options) {
  CHECK(factor.order.contiguous);
  const int64_t columns = factor.columns();
  for (int64_t p = 0; p < columns; ++p) {
    const int32_t group = factor.order.group_index[factor.order.columns[p]];
    if (runs_.empty() || runs_.back().group != group) runs_.push_back({p, p, group, {}, {}});
    runs_.back().end = p + 1;
  }
  CHECK(static_cast<int64_t>(runs_.size()) == factor.order.groups);
  for (GroupRun& run : runs_) {
    longest_run_ = std::max(longest_run_, run.end - run.begin);
    if (options.clip != Clip::kHessian) continue;
    for (int64_t p = run.begin; p < run.end; ++p) run.pivots.push_back(factor.upper[p * columns + p]);
    if (!options.gguf_type && run.end - run.begin <= ClipSearch::kLargestGroup)
      run.triangle = PackTriangle(factor, run.begin, run.end);
  }
}

std::vector<GroupRun>::const_iterator Schedule::RunFrom(int64_t position) const {
  return std::lower_bound(runs_.begin(), runs_.end(), position,
                          [](const GroupRun& run, int64_t p) { return run.begin < p; });
}

// Blocks end early where a group begins that reaches beyond the block: its later columns must have all
// updates when its grid is taken.
int64_t Schedule::BlockEnd(int64_t begin, int64_t columns, const SolverOptions& options) const {
  const int64_t end = std::min(begin + options.block_size, columns);
  if (options.group_grid == GroupGrid::kReference) return end;
  for (auto run = RunFrom(begin + 1); run != runs_.end() && run->begin < end; ++run) {
    if (run->end > end) return run->begin;
  }
  return end;
}

void Schedule::AddSteps(const InverseFactor& factor, bool stale, LazyBlock* block) const {
  auto run = RunFrom(block->begin);
  for (int64_t from = block->begin; from < block->end;) {
    Step step;
    step.begin = from;
    step.end = std::min(from + kLongestStep, block->end);
    if (!stale && run != runs_.end()) {
      if (run->begin == from) step.grid = &*run++;
      if (run != runs_.end()) step.end = std::min(step.end, run->begin);
    }
    step.triangle = PackTriangle(factor, step.begin, step.end);
    from = step.end;
    block->steps.push_back(std::move(step));
  }
}

}  // namespace gptq
