#include <cmath>
#include <numeric>

#include "base/error.h"
#include "quant/cuda/solution.h"
#include "quant/cuda/solver.h"
#include "quant/cuda/substitution.cuh"
#include "quant/measure.h"
#include "quant/rtn.h"
#include "quant/tile.h"

namespace gptq::cuda {
namespace {

DeviceArray<float> UploadRows(Device& device, const ConstMatrixView& matrix) {
  DeviceArray<float> copy(device, matrix.rows * matrix.columns);
  const auto row_bytes = matrix.columns * static_cast<int64_t>(sizeof(float));
  if (matrix.stride == matrix.columns) {
    device.ToDevice(copy.get(), matrix.data, matrix.rows * row_bytes);
    return copy;
  }
  std::vector<float> dense(static_cast<size_t>(matrix.rows * matrix.columns));
  for (int64_t r = 0; r < matrix.rows; ++r)
    std::copy_n(matrix.row(r), matrix.columns, dense.data() + r * matrix.columns);
  device.ToDevice(copy.get(), dense.data(), matrix.rows * row_bytes);
  return copy;
}

class MatrixSolver {
 public:
  MatrixSolver(const ConstMatrixView& weight, Metric& metric, const SolverOptions& options, ThreadPool& pool)
      : device_(*metric.hessian().device),
        metric_(metric),
        options_(options),
        pool_(pool),
        given_rows_(weight.rows),
        rows_(PaddedRows(weight.rows)),
        columns_(weight.columns),
        natural_(static_cast<size_t>(columns_)),
        weight_(UploadRows(device_, weight)) {
    std::iota(natural_.begin(), natural_.end(), 0);
  }

  bool weight_is_finite() { return AllFinite(device_, weight_.get(), given_rows_ * columns_); }

  // The column loop and what improves its solution. `target`: see SolveMatrix. False where the loop
  // overflows.
  bool Solve(const ConstMatrixView* target, SolveResult& result) {
    const ColumnOrder& order = metric_.order();
    DeviceArray<float> aim = target != nullptr ? UploadRows(device_, *target) : weight_;
    if (target != nullptr && !AllFinite(device_, aim.get(), given_rows_ * columns_)) aim = weight_;
    Solution solution = Begin(aim.get(), order);
    result = MakeResult(given_rows_, columns_, order.groups, order.group_index);
    result.loss = RunColumnLoop(metric_, options_, solution) * metric_.hessian_scale();
    if (!std::isfinite(result.loss)) return false;
    StoreGrids(solution, result);
    CountSaturatedScales(options_, result);
    if (options_.refits > 0 || options_.sweeps > 0) {
      Refine(metric_, options_, aim.get(), solution);
      StoreGrids(solution, result);
    }
    StoreCodes(solution, result);
    Reorder(device_, natural_, solution);
    values_ = solution.values;
    return true;
  }

  // Measures another solution than that of Solve.
  void TakeSolution(const std::vector<float>& dequantized) {
    const DeviceArray<float> copy(device_, dequantized);
    values_ = Columns(copy.get(), natural_, nullptr);
  }

  // Of the last solution, which is given up; see MeasureError.
  LayerError Measure(double lambda) {
    const DeviceArray<float> weight = Columns(weight_.get(), natural_, nullptr);
    weight_ = {};
    const ErrorSums sums = SumErrors(metric_, weight.get(), rows_, values_.get());
    values_ = {};
    return {sums.error + lambda * sums.difference,
            sums.outputs > 0 ? std::sqrt(sums.error / sums.outputs) : 0.0, sums.outputs};
  }

 private:
  DeviceArray<float> Columns(const float* matrix, const std::vector<int32_t>& columns, const uint8_t* dead) {
    DeviceArray<float> values(device_, columns_ * rows_);
    const DeviceArray<int32_t> order(device_, columns);
    LoadColumns(device_, matrix, given_rows_, columns_, order.get(), dead, rows_, values.get());
    return values;
  }

  Solution Begin(const float* aim, const ColumnOrder& order) {
    return {rows_,
            given_rows_,
            order.columns,
            Columns(aim, order.columns, metric_.device_dead()),
            DeviceArray<uint8_t>(device_, columns_ * rows_),
            DeviceArray<float>(device_, order.groups * rows_),
            DeviceArray<float>(device_, order.groups * rows_)};
  }

  void StoreGrids(const Solution& solution, SolveResult& result) {
    const std::vector<float> scales = ToVector(device_, solution.scales.get(), result.groups * rows_);
    const std::vector<float> zeros = ToVector(device_, solution.zeros.get(), result.groups * rows_);
    for (int64_t r = 0; r < given_rows_; ++r) {
      for (int64_t g = 0; g < result.groups; ++g) {
        result.scales[r * result.groups + g] = scales[g * rows_ + r];
        result.zeros[r * result.groups + g] = zeros[g * rows_ + r];
      }
    }
  }

  // Values are made from the codes again, which is exact, and faster than to fetch them.
  void StoreCodes(Solution& solution, SolveResult& result) {
    const DeviceArray<uint8_t> codes(device_, given_rows_ * columns_);
    cuda::StoreCodes(device_, solution, codes.get());
    solution.codes = {};
    device_.ToHost(result.codes.data(), codes.get(), given_rows_ * columns_);
    pool_.ParallelFor(given_rows_, [&](int64_t r) {
      const float* scales = result.scales.data() + r * result.groups;
      const float* zeros = result.zeros.data() + r * result.groups;
      for (int64_t c = 0; c < columns_; ++c) {
        const int32_t group = result.group_index[c];
        result.dequantized[r * columns_ + c] =
            scales[group] * (static_cast<float>(result.codes[r * columns_ + c]) - zeros[group]);
      }
    });
  }

  Device& device_;
  Metric& metric_;
  const SolverOptions& options_;
  ThreadPool& pool_;
  const int64_t given_rows_, rows_, columns_;
  std::vector<int32_t> natural_;
  DeviceArray<float> weight_;  // [given_rows, columns]
  DeviceArray<float> values_;  // Q [columns][rows], in the natural order
};

void CheckShape(const ConstMatrixView& weight, const Metric& metric, std::string_view name) {
  if (metric.hessian().columns != weight.columns) {
    throw Error(Concat("the weight has ", weight.columns, " columns, the Hessian ", metric.hessian().columns),
                name, "give a Hessian of the weight's inputs");
  }
}

void WarnOfDamping(const Metric& metric, std::string_view name, MatrixSolution& solution) {
  if (metric.attempts() <= 1) return;
  solution.warnings.push_back(
      metric.floored() > 0 ? Concat(name, ": the Hessian is not positive definite at any damping; ",
                                    metric.floored(), " diagonal entries were raised")
                           : Concat(name, ": the Hessian was not positive definite; damping was raised to ",
                                    metric.damping()));
}

SolveResult Round(const ConstMatrixView& weight, SolverOptions options, ThreadPool& pool) {
  if (options.clip == Clip::kHessian) options.clip = Clip::kMse;  // there is no H to measure through
  return RoundToNearest(weight, options, pool);
}

}  // namespace

bool Supports(const SolverOptions& options) {
  return !options.ternary && !options.gguf_type && !options.static_groups &&
         options.group_grid == GroupGrid::kUpToDate;
}

MatrixSolution SolveMatrix(const ConstMatrixView& weight, Metric& metric, Method method,
                           const SolverOptions& options, std::string_view name, ThreadPool& pool,
                           const ConstMatrixView* target) {
  Validate(options);
  CheckShape(weight, metric, name);
  CHECK(Supports(options) && metric.order().groups == options.GroupCount(weight.columns));
  MatrixSolver solver(weight, metric, options, pool);
  if (!solver.weight_is_finite()) {
    throw Error("the weight holds NaN or infinite values", name, "repair or download the checkpoint again");
  }
  MatrixSolution solution;
  solution.damping = options.damping;
  double lambda = options.damping * metric.mean_diagonal();
  bool solved = false;
  if (method == Method::kGptq && metric.factored()) {
    solved = solver.Solve(target, solution.result);
    solution.damping = metric.damping();
    lambda = metric.lambda();
    WarnOfDamping(metric, name, solution);
  }
  if (!solved) {
    solution.fell_back = method == Method::kGptq;
    if (solution.fell_back) {
      solution.warnings.push_back(Concat(name,
                                         metric.factored()
                                             ? ": the solver overflowed"
                                             : ": the Hessian could not be factored at any damping",
                                         "; the weights were rounded to nearest"));
    }
    solution.result = Round(weight, options, pool);
    solver.TakeSolution(solution.result.dequantized);
  }
  if (solution.result.saturated_scales > 0) {
    solution.warnings.push_back(Concat(name, ": ", solution.result.saturated_scales, " scales are beyond ",
                                       Name(options.scale_type), " and were cut to its greatest value"));
  }
  const LayerError error = solver.Measure(lambda);
  solution.loss = error.loss;
  solution.relative_error = error.relative_error;
  solution.outputs = error.outputs;
  return solution;
}

}  // namespace gptq::cuda
