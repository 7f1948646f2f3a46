#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "compute/cuda/kernel.cuh"
#include "quant/cuda/device_array.h"
#include "quant/cuda/refinement.h"

namespace gptq::cuda {
namespace {

constexpr int kThreads = 256;

__device__ float At(const float* hessian, int64_t n, int64_t i, int64_t j) {
  return i <= j ? hessian[i * n + j] : hessian[j * n + i];
}

// Reversing turns the upper factor M of H = M Mᵀ into an ordinary lower one. A block makes one row of the
// lower triangle.
__global__ void FillReversed(const float* hessian, int64_t n, const int32_t* order, const uint8_t* dead,
                             const double* floors, double lambda, double scale, double* a) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t i = blockIdx.x;
  const int32_t row = order[n - 1 - i];
  for (int64_t j = threadIdx.x; j < i; j += blockDim.x)
    a[i * n + j] = static_cast<double>(At(hessian, n, row, order[n - 1 - j])) / scale;
  if (threadIdx.x != 0) return;
  double diagonal = dead[row] != 0 ? 1.0 : static_cast<double>(At(hessian, n, row, row));
  if (floors != nullptr && floors[row] > diagonal) diagonal = floors[row];
  a[i * n + i] = (diagonal + lambda) / scale;
}

// U = M⁻¹ from the inverse of the reversed factor; counts entries that leave float32.
__global__ void StoreUpper(const double* inverse, int64_t n, float* upper, float* pivots, int32_t* bad) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t i = blockIdx.x;
  const double* const source = inverse + (n - 1 - i) * n;
  int32_t found = 0;
  for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
    const float value = j < i ? 0.0f : static_cast<float>(source[n - 1 - j]);
    upper[i * n + j] = value;
    found += !(fabsf(value) <= 3.402823466e38f);
    if (j != i) continue;
    pivots[i] = value;
    found += !(value > 0.0f);
  }
  if (found > 0) atomicAdd(bad, found);
}

// A little more than the sums of the magnitudes of each row's other entries. A block sums one row.
__global__ void SumMagnitudes(const float* hessian, int64_t n, double* sums) {
  __shared__ double shared[kThreads];
  WaitForPrevious();
  LetNextBegin();
  const int64_t i = blockIdx.x;
  double sum = 0;
  for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
    sum += j == i ? 0.0 : 1.1 * fabs(static_cast<double>(At(hessian, n, i, j)));
  shared[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0;
  for (int k = 0; k < kThreads; ++k) sum += shared[k];
  sums[i] = sum;
}

// A block makes one row of H + lambda I in the order of `columns`.
__global__ void FillSymmetric(const float* hessian, int64_t n, const int32_t* columns, double lambda,
                              float* values) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t i = blockIdx.x;
  const int32_t row = columns[i];
  for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
    float value = At(hessian, n, row, columns[j]);
    if (i == j) value = value == 0.0f ? 1.0f : static_cast<float>(static_cast<double>(value) + lambda);
    values[i * n + j] = value;
  }
}

// Of a symmetric matrix: out_i = sum over the columns of i's group. ends[i], begins[i]: of that group.
__global__ void SumGroups(const float* values, int64_t n, const int64_t* begins, const int64_t* ends,
                          double* out) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  double sum = 0;
  for (int64_t j = begins[i]; j < ends[i]; ++j) sum += static_cast<double>(values[j * n + i]);
  out[i] = sum;
}

double NextDamping(double damping) { return std::min(std::max(2 * damping, 1e-4), 1.0); }

void CheckHessian(const DeviceHessian& hessian, std::span<const float> diagonal, std::string_view name) {
  if (!AllFinite(hessian)) {
    throw Error("the Hessian holds NaN or infinite values", name,
                "check the calibration data and the model's weights");
  }
  for (size_t i = 0; i < diagonal.size(); ++i) {
    if (diagonal[i] < 0) {
      throw Error(Concat("the Hessian's diagonal is negative at ", i), name,
                  "give 2 / tokens times the sum of x x^T");
    }
  }
}

}  // namespace

Metric::Metric(DeviceHessian hessian, const SolverOptions& options, std::string_view name)
    : hessian_(std::move(hessian)) {
  Validate(options);
  CHECK(Supports(options));
  const std::vector<float> diagonal = Diagonal(hessian_);
  CheckHessian(hessian_, diagonal, name);
  const std::vector<float> importance =
      options.order == Order::kPivot ? PivotRanks(Download(hessian_).view(), options.damping) : diagonal;
  order_ = MakeOrder(options, importance);
  double sum = 0;
  for (const float value : diagonal) {
    dead_.push_back(value == 0.0f);
    sum += value == 0.0f ? 1.0 : static_cast<double>(value);
  }
  mean_ = diagonal.empty() ? 1.0 : sum / static_cast<double>(diagonal.size());
  lambda_ = options.damping * mean_;
  damping_ = options.damping;
  device_dead_ = DeviceArray<uint8_t>(*hessian_.device, dead_).memory;
  if (mean_ > 0) Factor(options);
}

Metric::Metric(Metric&&) noexcept = default;
Metric& Metric::operator=(Metric&&) noexcept = default;
Metric::~Metric() = default;

void Metric::Factor(const SolverOptions& options) {
  Device& device = *hessian_.device;
  const int64_t n = hessian_.columns;
  hessian_scale_ = std::exp2(std::floor(std::log2(mean_)));
  const DeviceArray<double> a(device, n * n);
  const DeviceArray<int32_t> order(device, order_.columns);
  DeviceArray<double> floors;
  for (;; ++attempts_) {
    lambda_ = damping_ * mean_;
    if (TryFactor(a.get(), order.get(), floors.get())) return;
    if (damping_ < 1.0) {
      damping_ = NextDamping(damping_);
      continue;
    }
    if (floors.get() != nullptr) return;
    floors = DeviceArray<double>(device, n);
    GPTQ_LAUNCH(device, SumMagnitudes, Geometry{.blocks_x = n, .threads = kThreads}, hessian_.data(), n,
                floors.get());
    const std::vector<double> sums = ToVector(device, floors.get(), n);
    const std::vector<float> diagonal = Diagonal(hessian_);
    for (int64_t i = 0; i < n; ++i) floored_ += sums[i] > static_cast<double>(diagonal[i]);
    damping_ = std::max(options.damping, 1e-4);
  }
}

bool Metric::TryFactor(double* a, const int32_t* order, const double* floors) {
  Device& device = *hessian_.device;
  const int64_t n = hessian_.columns;
  GPTQ_LAUNCH(device, FillReversed, Geometry{.blocks_x = n, .threads = kThreads}, hessian_.data(), n, order,
              device_dead(), floors, lambda_, hessian_scale_, a);
  if (!device.InverseCholesky(a, n)) return false;
  const DeviceArray<float> upper(device, n * n), pivots(device, n);
  const DeviceArray<int32_t> bad(device, 1);
  device.Zero(bad.get(), sizeof(int32_t));
  GPTQ_LAUNCH(device, StoreUpper, Geometry{.blocks_x = n, .threads = kThreads}, a, n, upper.get(),
              pivots.get(), bad.get());
  if (ToVector(device, bad.get(), 1)[0] != 0) return false;
  upper_ = upper.memory;
  pivots_ = pivots.memory;
  return true;
}

const Metric::Refinement& Metric::refinement() {
  if (refinement_) return *refinement_;
  Device& device = *hessian_.device;
  const int64_t n = hessian_.columns;
  auto made = std::make_unique<Refinement>();
  std::vector<std::vector<int32_t>> members(static_cast<size_t>(order_.groups));
  for (int32_t c = 0; c < n; ++c) members[order_.group_index[c]].push_back(c);
  std::vector<int64_t> begins, ends;  // of each column's group
  made->begins.push_back(0);
  for (const std::vector<int32_t>& group : members) {
    made->columns.insert(made->columns.end(), group.begin(), group.end());
    made->begins.push_back(static_cast<int64_t>(made->columns.size()));
    begins.resize(made->columns.size(), made->begins.end()[-2]);
    ends.resize(made->columns.size(), made->begins.back());
  }
  made->values = DeviceArray<float>(device, n * n);
  made->sums = DeviceArray<double>(device, n);
  const DeviceArray<int32_t> columns(device, made->columns);
  GPTQ_LAUNCH(device, FillSymmetric, Geometry{.blocks_x = n, .threads = kThreads}, hessian_.data(), n,
              columns.get(), lambda_, made->values.get());
  const DeviceArray<int64_t> device_begins(device, begins), device_ends(device, ends);
  GPTQ_LAUNCH(device, SumGroups, Geometry{.blocks_x = CeilDivide(n, kThreads), .threads = kThreads},
              made->values.get(), n, device_begins.get(), device_ends.get(), made->sums.get());
  refinement_ = std::move(made);
  return *refinement_;
}

}  // namespace gptq::cuda
