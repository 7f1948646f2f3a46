// One matrix from weight and inputs to result and figures: what `gptq solve` does and what a workflow does
// for each linear.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "quant/factor.h"
#include "quant/hessian.h"
#include "quant/matrix.h"
#include "quant/options.h"
#include "quant/solve_result.h"

namespace gptq {

struct MatrixSolution {
  SolveResult result;
  double loss = 0;  // see measure.h; of the H that was given
  double relative_error = 0;
  double outputs = 0;
  double damping = 0;                 // used, relative to the mean of H's diagonal
  bool fell_back = false;             // H could not be factored, or the solver overflowed: rounded to nearest
  std::vector<std::string> warnings;  // raised damping, fallback, saturated scales
};

// H from inputs [tokens, columns]. Throws Error naming `name` where an input is NaN or infinite or there are
// none.
Hessian HessianOfInputs(const ConstMatrixView& inputs, std::string_view name, ThreadPool& pool);

// The order and factor for all linears of one input. Throws Error naming `name` where H holds NaN or infinite
// entries or a negative diagonal; absent where no damping helps.
std::optional<InverseFactor> FactorForOptions(const HessianView& hessian, const SolverOptions& options,
                                              std::string_view name, ThreadPool& pool);

// Throws Error naming `name` where weights are not finite or shapes do not fit.
// With a factor (of the same H and options) that the caller has made already; absent: round-to-nearest.
// `target` (may be null): what the column loop starts from instead of the weight (quant/target_shift.h);
// errors are measured against the weight.
MatrixSolution SolveMatrix(const ConstMatrixView& weight, const HessianView& hessian,
                           const std::optional<InverseFactor>& factor, Method method,
                           const SolverOptions& options, std::string_view name, ThreadPool& pool,
                           const ConstMatrixView* target = nullptr);
// Everything in one call.
MatrixSolution SolveMatrix(const ConstMatrixView& weight, const HessianView& hessian, Method method,
                           const SolverOptions& options, std::string_view name, ThreadPool& pool);

}  // namespace gptq
