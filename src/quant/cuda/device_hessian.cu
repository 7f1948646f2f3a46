#include "base/error.h"
#include "compute/cuda/kernel.cuh"
#include "quant/cuda/device_array.h"
#include "quant/cuda/solver.h"

namespace gptq::cuda {
namespace {

constexpr int64_t kThreads = 256;

// A block clears one row below the diagonal.
__global__ void ClearLower(float* values, int64_t columns) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = blockIdx.x;
  for (int64_t j = threadIdx.x; j < row; j += blockDim.x) values[row * columns + j] = 0.0f;
}

__global__ void CountNotFinite(const float* values, int64_t columns, int32_t* count) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = blockIdx.x;
  int32_t found = 0;
  for (int64_t j = row + threadIdx.x; j < columns; j += blockDim.x)
    found += !(fabsf(values[row * columns + j]) <= 3.402823466e38f);
  if (found > 0) atomicAdd(count, found);
}

__global__ void TakeDiagonal(const float* values, int64_t columns, float* diagonal) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < columns) diagonal[i] = values[i * columns + i];
}

}  // namespace

DeviceHessian Upload(const std::shared_ptr<Device>& device, const HessianView& hessian, int64_t tokens) {
  const int64_t n = hessian.columns, bytes = n * n * static_cast<int64_t>(sizeof(float));
  DeviceHessian copy{device, n, tokens, device->Allocate(bytes)};
  device->ToDevice(copy.values.get(), hessian.data, bytes);
  GPTQ_LAUNCH(*device, ClearLower, Geometry{.blocks_x = n, .threads = kThreads},
              reinterpret_cast<float*>(copy.values.get()), n);
  return copy;
}

Hessian Download(const DeviceHessian& hessian) {
  const int64_t n = hessian.columns;
  return {n, hessian.tokens, ToVector(*hessian.device, hessian.data(), n * n)};
}

bool AllFinite(const DeviceHessian& hessian) {
  Device& device = *hessian.device;
  const DeviceArray<int32_t> count(device, 1);
  device.Zero(count.get(), sizeof(int32_t));
  GPTQ_LAUNCH(device, CountNotFinite, Geometry{.blocks_x = hessian.columns, .threads = kThreads},
              hessian.data(), hessian.columns, count.get());
  return ToVector(device, count.get(), 1)[0] == 0;
}

std::vector<float> Diagonal(const DeviceHessian& hessian) {
  Device& device = *hessian.device;
  const DeviceArray<float> diagonal(device, hessian.columns);
  GPTQ_LAUNCH(device, TakeDiagonal,
              Geometry{.blocks_x = CeilDivide(hessian.columns, kThreads), .threads = kThreads},
              hessian.data(), hessian.columns, diagonal.get());
  return ToVector(device, diagonal.get(), hessian.columns);
}

}  // namespace gptq::cuda
