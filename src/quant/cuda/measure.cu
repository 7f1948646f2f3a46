#include <algorithm>
#include <numeric>

#include "compute/cuda/kernel.cuh"
#include "quant/cuda/solution.h"
#include "quant/cuda/substitution.cuh"

namespace gptq::cuda {
namespace {

constexpr int64_t kMeasuredColumns = 1024;  // of a product

__device__ int64_t RowIndex() { return static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x; }

// values = weight - values; adds the squares outside of dead columns to `squares` [rows].
__global__ void TakeDifference(const float* weight, const uint8_t* dead, int64_t columns, int64_t rows,
                               float* values, double* squares) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = RowIndex();
  double sum = 0;
#pragma unroll 4
  for (int64_t c = 0; c < columns; ++c) {
    const float difference = weight[c * rows + row] - values[c * rows + row];
    values[c * rows + row] = difference;
    if (dead[c] == 0) sum += static_cast<double>(difference) * static_cast<double>(difference);
  }
  squares[row] = sum;
}

// `products` [count][rows]: the upper triangle of H, with its diagonal, times x. Adds to sums [rows] what
// these columns contribute to x H x: 2 x T x without a second diagonal.
__global__ void AddQuadratics(const float* x, const float* products, const float* diagonal, int64_t stride,
                              int64_t count, int64_t rows, double* sums) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = RowIndex();
  double sum = 0;
#pragma unroll 4
  for (int64_t c = 0; c < count; ++c) {
    const auto value = static_cast<double>(x[c * rows + row]);
    const auto product = static_cast<double>(products[c * rows + row]);
    sum += value * (2 * product - static_cast<double>(diagonal[c * stride]) * value);
  }
  sums[row] += sum;
}

Geometry Rows(int64_t rows) { return {.blocks_x = rows / kRowThreads, .threads = kRowThreads}; }

double Sum(Device& device, const double* values, int64_t count) {
  const std::vector<double> copy = ToVector(device, values, count);
  return std::accumulate(copy.begin(), copy.end(), 0.0);
}

double Quadratic(const DeviceHessian& hessian, const float* x, int64_t rows, float* products) {
  Device& device = *hessian.device;
  const int64_t n = hessian.columns;
  const DeviceArray<double> sums(device, rows);
  device.Zero(sums.get(), rows * static_cast<int64_t>(sizeof(double)));
  for (int64_t begin = 0; begin < n; begin += kMeasuredColumns) {
    const int64_t count = std::min(kMeasuredColumns, n - begin);
    device.Zero(products, count * rows * static_cast<int64_t>(sizeof(float)));
    device.FloatOuterProduct(count, rows, begin + count, 1.0f, {hessian.data() + begin, n}, {x, rows},
                             {products, rows});
    GPTQ_LAUNCH(device, AddQuadratics, Rows(rows), x + begin * rows, products,
                hessian.data() + begin * n + begin, n + 1, count, rows, sums.get());
  }
  return Sum(device, sums.get(), rows);
}

}  // namespace

ErrorSums SumErrors(const Metric& metric, const float* weight, int64_t rows, float* values) {
  const DeviceHessian& hessian = metric.hessian();
  Device& device = *hessian.device;
  const DeviceArray<double> squares(device, rows);
  GPTQ_LAUNCH(device, TakeDifference, Rows(rows), weight, metric.device_dead(), hessian.columns, rows, values,
              squares.get());
  const DeviceArray<float> products(device, std::min(kMeasuredColumns, hessian.columns) * rows);
  // Round-off may leave a sum that should be 0 just below it.
  return {std::max(Quadratic(hessian, values, rows, products.get()), 0.0),
          Quadratic(hessian, weight, rows, products.get()), Sum(device, squares.get(), rows)};
}

}  // namespace gptq::cuda
