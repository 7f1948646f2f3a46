// Improving a finished solution under the same H by coordinate descent: over the codes, each moved to the
// best value that all others leave it; and over the grids, each group's scale and zero fitted to its codes.
// No step raises tr((W-Q)(H + lambda I)(W-Q)ᵀ) but for round-off.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "quant/hessian.h"
#include "quant/matrix.h"
#include "quant/options.h"
#include "quant/solve_result.h"

namespace gptq {

// H + lambda I of all columns, group by group, as the descent reads it. Linears that read the same input and
// have the same groups share one.
struct RefineMetric {
  RefineMetric(const HessianView& hessian, double lambda, const std::vector<int32_t>& group_index,
               int64_t groups);

  std::vector<int32_t> columns;  // the columns, those of a group side by side
  std::vector<int64_t> begins;   // [groups + 1]: where each group begins in `columns`
  std::vector<float> values;     // [columns, columns], symmetric, in that order
  std::vector<uint8_t> dead;     // [columns], as given: inputs that are always zero; their weights count as 0
};

// options.refits rounds of (scales and zeros, then codes), then options.sweeps rounds of codes alone.
// `weight` [rows, columns]: what the solution approximates.
void Refine(const ConstMatrixView& weight, const RefineMetric& metric, const SolverOptions& options,
            ThreadPool& pool, SolveResult& result);

}  // namespace gptq
