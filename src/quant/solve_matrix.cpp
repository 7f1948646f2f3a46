#include "quant/solve_matrix.h"

#include <cmath>

#include "base/error.h"
#include "quant/measure.h"
#include "quant/refine.h"
#include "quant/rtn.h"
#include "quant/solver.h"

namespace gptq {
namespace {

void CheckHessian(const HessianView& hessian, std::string_view name) {
  if (!AllFinite(hessian)) {
    throw Error("the Hessian holds NaN or infinite values", name,
                "check the calibration data and the model's weights");
  }
  for (int64_t i = 0; i < hessian.columns; ++i) {
    if (hessian.at(i, i) < 0) {
      throw Error(Concat("the Hessian's diagonal is negative at ", i), name,
                  "give 2 / tokens times the sum of x x^T");
    }
  }
}

void CheckWeight(const ConstMatrixView& weight, const HessianView& hessian, std::string_view name) {
  if (hessian.columns != weight.columns) {
    throw Error(Concat("the weight has ", weight.columns, " columns, the Hessian ", hessian.columns), name,
                "give a Hessian of the weight's inputs");
  }
  if (!AllFinite(weight)) {
    throw Error("the weight holds NaN or infinite values", name, "repair or download the checkpoint again");
  }
}

}  // namespace

Hessian HessianOfInputs(const ConstMatrixView& inputs, std::string_view name, ThreadPool& pool) {
  if (inputs.rows < 1) throw Error("there are no inputs", name, "give at least one token");
  HessianAccumulator accumulator(inputs.columns);
  accumulator.Add(inputs.data, inputs.rows, inputs.stride, pool);
  Hessian hessian = accumulator.Finish(pool);
  if (!AllFinite(hessian.view())) {
    throw Error("the inputs hold NaN or infinite values, or their squares overflow", name,
                "check the calibration data and the model's weights");
  }
  return hessian;
}

std::optional<InverseFactor> FactorForOptions(const HessianView& hessian, const SolverOptions& options,
                                              std::string_view name, ThreadPool& pool) {
  Validate(options);
  CheckHessian(hessian, name);
  const std::vector<float> importance =
      options.order == Order::kPivot ? PivotRanks(hessian, options.damping) : hessian.Diagonal();
  return FactorInverse(hessian, MakeOrder(options, importance), options.damping, pool);
}

MatrixSolution SolveMatrix(const ConstMatrixView& weight, const HessianView& hessian,
                           const std::optional<InverseFactor>& factor, Method method,
                           const SolverOptions& options, std::string_view name, ThreadPool& pool,
                           const ConstMatrixView* target) {
  CheckWeight(weight, hessian, name);
  MatrixSolution solution;
  solution.damping = options.damping;
  double lambda = options.damping * MeanDiagonal(hessian);
  bool solved = false;
  if (method == Method::kGptq && factor) {
    const bool shifted = target != nullptr && AllFinite(*target);
    const ConstMatrixView& aim = shifted ? *target : weight;
    solution.result = SolveGptq(aim, *factor, options, pool);
    solved = std::isfinite(solution.result.loss);  // updates of huge weights may overflow
    solution.damping = factor->damping;
    lambda = factor->lambda;
    if (solved && (options.refits > 0 || options.sweeps > 0)) {
      const RefineMetric metric(hessian, lambda, solution.result.group_index, solution.result.groups);
      Refine(aim, metric, options, pool, solution.result);
    }
    if (factor->attempts > 1) {
      solution.warnings.push_back(
          factor->floored > 0
              ? Concat(name, ": the Hessian is not positive definite at any damping; ", factor->floored,
                       " diagonal entries were raised")
              : Concat(name, ": the Hessian was not positive definite; damping was raised to ",
                       factor->damping));
    }
  }
  if (!solved) {
    solution.fell_back = method == Method::kGptq;
    if (solution.fell_back) {
      solution.warnings.push_back(Concat(
          name, factor ? ": the solver overflowed" : ": the Hessian could not be factored at any damping",
          "; the weights were rounded to nearest"));
    }
    SolverOptions rounding = options;
    if (rounding.clip == Clip::kHessian) rounding.clip = Clip::kMse;  // there is no H to measure through
    solution.result = RoundToNearest(weight, rounding, pool);
  }
  if (solution.result.saturated_scales > 0) {
    solution.warnings.push_back(Concat(name, ": ", solution.result.saturated_scales, " scales are beyond ",
                                       Name(options.scale_type), " and were cut to its greatest value"));
  }
  const LayerError error =
      MeasureError(weight, ConstMatrix(solution.result.dequantized.data(), weight.rows, weight.columns),
                   hessian, lambda, pool);
  solution.loss = error.loss;
  solution.relative_error = error.relative_error;
  solution.outputs = error.outputs;
  return solution;
}

MatrixSolution SolveMatrix(const ConstMatrixView& weight, const HessianView& hessian, Method method,
                           const SolverOptions& options, std::string_view name, ThreadPool& pool) {
  Validate(options);
  CheckWeight(weight, hessian, name);
  CheckHessian(hessian, name);
  std::optional<InverseFactor> factor;
  if (method == Method::kGptq) factor = FactorForOptions(hessian, options, name, pool);
  return SolveMatrix(weight, hessian, factor, method, options, name, pool);
}

}  // namespace gptq
