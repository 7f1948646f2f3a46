// GPTQ's column loop (arXiv 2210.17323, algorithm 1). docs/algorithm.md maps the paper's symbols to names
// here.
#pragma once

#include "base/thread_pool.h"
#include "quant/factor.h"
#include "quant/matrix.h"
#include "quant/options.h"
#include "quant/solve_result.h"

namespace gptq {

// `weight` [rows, columns] must be finite; `factor` must come from the same columns with MakeOrder(options,
// ...). Rows are solved in tiles of kTileRows, each by one thread; a row's result depends on neither the
// number of threads nor (but for round-off) options.block_size, except under GroupGrid::kReference.
SolveResult SolveGptq(const ConstMatrixView& weight, const InverseFactor& factor,
                      const SolverOptions& options, ThreadPool& pool);

}  // namespace gptq
