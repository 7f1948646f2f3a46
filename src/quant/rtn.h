// Round-to-nearest: the solver's grids without its compensation, and without calibration.
#pragma once

#include "base/thread_pool.h"
#include "quant/matrix.h"
#include "quant/options.h"
#include "quant/solve_result.h"

namespace gptq {

// Groups in the natural order, whatever options.order says. Weights must be finite.
SolveResult RoundToNearest(const ConstMatrixView& weight, const SolverOptions& options, ThreadPool& pool);

}  // namespace gptq
