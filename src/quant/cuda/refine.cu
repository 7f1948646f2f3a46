// Coordinate descent as quant/refine.h does it, all rows side by side. Gradients of the columns around a
// group are brought up to date for several groups at a time.
#include <algorithm>

#include "base/error.h"
#include "compute/cuda/kernel.cuh"
#include "quant/cuda/grid_rule.cuh"
#include "quant/cuda/refinement.h"
#include "quant/cuda/solution.h"
#include "quant/cuda/substitution.cuh"

namespace gptq::cuda {
namespace {

constexpr int64_t kLongestPiece = 128;   // columns whose codes are descended over before G is updated
constexpr int64_t kWindowColumns = 256;  // of whole groups, after which G is updated everywhere

__device__ int64_t RowIndex() { return static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x; }

// out = a - b; a block of each column's rows.
__global__ void Subtract(const float* a, const float* b, int64_t rows, float* out) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t i = static_cast<int64_t>(blockIdx.y) * rows + RowIndex();
  out[i] = a[i] - b[i];
}

// Values of a grid of scale 1: the direction in which a change of the scale moves Q.
__global__ void TakeSteps(const uint8_t* codes, const float* zeros, int64_t rows, float* steps) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = RowIndex(), i = static_cast<int64_t>(blockIdx.y) * rows + row;
  steps[i] = static_cast<float>(codes[i]) - zeros[row];
}

// The best scale along `steps`, `products` being H times these, both [count][rows]. Q and the group's G
// follow.
__global__ void FitScales(GridRule rule, int64_t count, const float* steps, const float* products,
                          int64_t rows, float* scales, float* values, float* gradients) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = RowIndex();
  double slope = 0, curvature = 0;
#pragma unroll 4
  for (int64_t c = 0; c < count; ++c) {
    const auto step = static_cast<double>(steps[c * rows + row]);
    slope += step * static_cast<double>(gradients[c * rows + row]);
    curvature += step * static_cast<double>(products[c * rows + row]);
  }
  const float scale = scales[row];
  const auto fitted =
      static_cast<float>(static_cast<double>(scale) + (curvature > 0 ? slope / curvature : 0.0));
  // A scale that changes its sign or vanishes has lost its group.
  if (!(fitted * scale > 0) || !(fabsf(fitted) <= 3.402823466e38f)) return;
  const float rounded = RoundScale(rule, fitted), change = rounded - scale;
  scales[row] = rounded;
#pragma unroll 4
  for (int64_t c = 0; c < count; ++c) {
    values[c * rows + row] += steps[c * rows + row] * change;
    gradients[c * rows + row] -= products[c * rows + row] * change;
  }
}

// Zeros are whole numbers: the best of those within reach, kept only where it lowers the loss. `sums`: of the
// rows of the group's block of H.
__global__ void FitZeros(GridRule rule, int64_t count, const double* sums, int64_t rows, const float* scales,
                         float* zeros, float* values, float* gradients) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = RowIndex();
  double slope = 0, curvature = 0;
#pragma unroll 4
  for (int64_t c = 0; c < count; ++c) {
    slope += static_cast<double>(gradients[c * rows + row]);
    curvature += sums[c];
  }
  const double step = curvature > 0 ? slope / curvature : 0.0;
  const float wanted = zeros[row] + static_cast<float>(round(-step / static_cast<double>(scales[row])));
  const float least = wanted < rule.minimum_zero ? rule.minimum_zero : wanted;
  const float zero = rule.maximum_code < least ? rule.maximum_code : least;
  const float change = (zeros[row] - zero) * scales[row];
  const auto d = static_cast<double>(change);
  if (!(d * (2 * step - d) > 0)) return;
  zeros[row] = zero;
#pragma unroll 4
  for (int64_t c = 0; c < count; ++c) {
    values[c * rows + row] += change;
    gradients[c * rows + row] -= static_cast<float>(sums[c]) * change;
  }
}

// Each code to the best value that all others leave it. `changes` [count][rows] receives how Q changes.
__global__ void __launch_bounds__(kRowThreads)
    Descend(float maximum_code, int count, const float* metric, int64_t stride, const float* scales,
            const float* zeros, const float* gradients, int64_t rows, float* values, uint8_t* codes,
            float* changes) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = RowIndex();
  const Grid grid{scales[row], zeros[row]};
  Substitute<kRowThreads>(
      count, metric, stride, gradients + row, rows, [&](int j, float gradient, float curvature) {
        const float old = values[j * rows + row];
        const float steps = GridSteps(__fadd_rn(old, __fdiv_rn(gradient, curvature)), grid, maximum_code);
        const float q = __fmul_rn(grid.scale, steps), change = q - old;
        values[j * rows + row] = q;
        codes[j * rows + row] = static_cast<uint8_t>(static_cast<int>(steps + grid.zero));
        changes[j * rows + row] = change;
        return change;
      });
}

class Refiner {
 public:
  Refiner(Metric& metric, const SolverOptions& options, Solution& solution)
      : device_(*metric.hessian().device),
        refinement_(metric.refinement()),
        dead_(metric.device_dead()),
        options_(options),
        rule_(MakeGridRule(options)),
        solution_(solution),
        rows_(solution.rows),
        columns_(metric.hessian().columns) {}

  void Run(const float* weight) {
    StartGradients(weight);
    int64_t longest = 0, longest_window = 0;
    for (int64_t g = 0; g < groups(); ++g) {
      longest = std::max(longest, end(g) - begin(g));
      longest_window = std::max(longest_window, end(WindowEnd(g) - 1) - begin(g));
    }
    before_ = DeviceArray<float>(device_, longest_window * rows_);
    changes_ = DeviceArray<float>(device_, std::max(longest, longest_window) * rows_);
    if (options_.refits > 0) products_ = DeviceArray<float>(device_, longest * rows_);
    const int rounds = options_.refits + options_.sweeps;
    for (int round = 0; round < rounds; ++round) {
      last_ = round + 1 == rounds;
      for (int64_t g = 0; g < groups(); g = WindowEnd(g))
        ImproveWindow(g, WindowEnd(g), round < options_.refits);
    }
  }

 private:
  int64_t groups() const { return static_cast<int64_t>(refinement_.begins.size()) - 1; }
  int64_t begin(int64_t group) const { return refinement_.begins[group]; }
  int64_t end(int64_t group) const { return refinement_.begins[group + 1]; }
  // The groups from `group` on that are improved before G is updated everywhere.
  int64_t WindowEnd(int64_t group) const {
    int64_t last = group + 1;
    while (last < groups() && end(last) - begin(group) <= kWindowColumns) ++last;
    return last;
  }

  float* values(int64_t column) const { return solution_.values.get() + column * rows_; }
  float* gradients(int64_t column) const { return gradients_.get() + column * rows_; }
  uint8_t* codes(int64_t column) const { return solution_.codes.get() + column * rows_; }
  float* scales(int64_t group) const { return solution_.scales.get() + group * rows_; }
  float* zeros(int64_t group) const { return solution_.zeros.get() + group * rows_; }
  const float* metric(int64_t i, int64_t j) const { return refinement_.values.get() + i * columns_ + j; }
  Geometry Rows(int64_t shared_bytes = 0) const {
    return {.blocks_x = rows_ / kRowThreads, .threads = kRowThreads, .shared_bytes = shared_bytes};
  }

  // launch(first, count) for pieces of `columns`, one block of the grid's y for each.
  template <typename Launch>
  void ForPieces(int64_t columns, const Launch& launch) {
    constexpr int64_t kMost = 32768;
    for (int64_t first = 0; first < columns; first += kMost) {
      Geometry geometry = Rows();
      geometry.blocks_y = std::min(kMost, columns - first);
      launch(first * rows_, geometry);
    }
  }

  void SubtractColumns(int64_t columns, const float* a, const float* b, float* out) {
    ForPieces(columns, [&](int64_t at, const Geometry& geometry) {
      GPTQ_LAUNCH(device_, Subtract, geometry, a + at, b + at, rows_, out + at);
    });
  }

  // G = (W - Q) (H + lambda I)
  void StartGradients(const float* weight) {
    Reorder(device_, refinement_.columns, solution_);
    const DeviceArray<float> difference(device_, columns_ * rows_);
    const DeviceArray<int32_t> order(device_, refinement_.columns);
    LoadColumns(device_, weight, solution_.given_rows, columns_, order.get(), dead_, rows_, difference.get());
    SubtractColumns(columns_, difference.get(), values(0), difference.get());
    gradients_ = DeviceArray<float>(device_, columns_ * rows_);
    device_.FloatProduct(columns_, rows_, columns_, 1.0f, {metric(0, 0), columns_}, {difference.get(), rows_},
                         true, 0.0f, {gradients(0), rows_});
  }

  // G of columns [first, last) after columns [from, to) of Q have changed.
  void UpdateGradients(int64_t first, int64_t last, int64_t from, int64_t to, const float* changes) {
    if (first >= last) return;
    device_.FloatProduct(last - first, rows_, to - from, -1.0f, {metric(first, from), columns_},
                         {changes, rows_}, {gradients(first), rows_});
  }

  // The last round leaves the gradients behind it as they are.
  void UpdateAround(int64_t first, int64_t last, int64_t from, int64_t to, const float* changes) {
    if (!last_) UpdateGradients(first, from, from, to, changes);
    UpdateGradients(to, last, from, to, changes);
  }

  void ImproveWindow(int64_t first, int64_t last, bool fit) {
    const int64_t from = begin(first), to = end(last - 1);
    device_.OnDevice(before_.get(), values(from), (to - from) * rows_ * static_cast<int64_t>(sizeof(float)));
    for (int64_t g = first; g < last; ++g) {
      if (fit) FitGrid(g);
      DescendGroup(g);
      if (last - first > 1) UpdateAround(from, to, begin(g), end(g), ChangesOf(from, begin(g), end(g)));
    }
    UpdateAround(0, columns_, from, to, ChangesOf(from, from, to));
  }

  // How Q has changed since the window, which begins at `window`, was begun.
  const float* ChangesOf(int64_t window, int64_t from, int64_t to) {
    SubtractColumns(to - from, values(from), before_.get() + (from - window) * rows_, changes_.get());
    return changes_.get();
  }

  void FitGrid(int64_t g) {
    const int64_t from = begin(g), count = end(g) - from;
    ForPieces(count, [&](int64_t at, const Geometry& geometry) {
      GPTQ_LAUNCH(device_, TakeSteps, geometry, codes(from) + at, zeros(g), rows_, changes_.get() + at);
    });
    device_.FloatProduct(count, rows_, count, 1.0f, {metric(from, from), columns_}, {changes_.get(), rows_},
                         true, 0.0f, {products_.get(), rows_});
    GPTQ_LAUNCH(device_, FitScales, Rows(), rule_, count, changes_.get(), products_.get(), rows_, scales(g),
                values(from), gradients(from));
    if (rule_.symmetric) return;
    GPTQ_LAUNCH(device_, FitZeros, Rows(), rule_, count, refinement_.sums.get() + from, rows_, scales(g),
                zeros(g), values(from), gradients(from));
  }

  void DescendGroup(int64_t g) {
    for (int64_t from = begin(g); from < end(g); from += kLongestPiece) {
      const int64_t to = std::min(from + kLongestPiece, end(g));
      GPTQ_LAUNCH(device_, Descend, Rows(SubstitutionBytes(to - from)), rule_.maximum_code, to - from,
                  metric(from, from), columns_, scales(g), zeros(g), gradients(from), rows_, values(from),
                  codes(from), changes_.get());
      UpdateGradients(last_ ? to : begin(g), end(g), from, to, changes_.get());
    }
  }

  Device& device_;
  const Metric::Refinement& refinement_;
  const uint8_t* const dead_;
  const SolverOptions& options_;
  const GridRule rule_;
  Solution& solution_;
  const int64_t rows_, columns_;
  bool last_ = false;
  DeviceArray<float> gradients_;  // [columns][rows], as all of these
  DeviceArray<float> before_;     // a window's values at its begin
  DeviceArray<float> changes_;    // of Q
  DeviceArray<float> products_;
};

}  // namespace

void Refine(Metric& metric, const SolverOptions& options, const float* weight, Solution& solution) {
  Refiner(metric, options, solution).Run(weight);
}

}  // namespace gptq::cuda
