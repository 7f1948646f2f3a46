// The solver on the GPU: H, its factor, and the column loop with everything after it, as quant/hessian.h,
// factor.h and solve_matrix.h do it on the processor. Results agree but for round-off.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "compute/cuda/runtime.h"
#include "quant/hessian.h"
#include "quant/matrix.h"
#include "quant/options.h"
#include "quant/order.h"
#include "quant/solve_matrix.h"

namespace gptq::cuda {

// H in the device's memory: float32 [columns, columns], row-major, upper triangle; the rest is 0.
struct DeviceHessian {
  std::shared_ptr<Device> device;  // outlives the memory
  int64_t columns = 0;
  int64_t tokens = 0;
  Memory values;

  const float* data() const { return reinterpret_cast<const float*>(values.get()); }
};

DeviceHessian Upload(const std::shared_ptr<Device>& device, const HessianView& hessian, int64_t tokens = 0);
Hessian Download(const DeviceHessian& hessian);
// False where an entry of the upper triangle is NaN or infinite: Download, RepairHessian and Upload then.
bool AllFinite(const DeviceHessian& hessian);
std::vector<float> Diagonal(const DeviceHessian& hessian);

// Whether SolveMatrix below can do it. Not: ternary grids, the grids of GGUF types, static groups,
// GroupGrid::kReference.
bool Supports(const SolverOptions& options);

// All that linears of one input share: H, the order, and the factor of (H + lambda I)⁻¹; see InverseFactor.
class Metric {
 public:
  // For options that are supported. Throws Error naming `name` where H holds NaN or infinite entries or a
  // negative diagonal. Order::kPivot is found on the processor, in O(columns³).
  Metric(DeviceHessian hessian, const SolverOptions& options, std::string_view name);
  Metric(Metric&&) noexcept;
  Metric& operator=(Metric&&) noexcept;
  ~Metric();

  // False where no damping helps: SolveMatrix then rounds to nearest.
  bool factored() const { return upper_ != nullptr; }
  const DeviceHessian& hessian() const { return hessian_; }
  const ColumnOrder& order() const { return order_; }
  const std::vector<uint8_t>& dead() const { return dead_; }
  double mean_diagonal() const { return mean_; }
  double hessian_scale() const { return hessian_scale_; }
  double damping() const { return damping_; }
  double lambda() const { return lambda_; }
  int attempts() const { return attempts_; }
  int64_t floored() const { return floored_; }

  // U [columns, columns] in the order's positions, 0 below the diagonal; on the device.
  const float* upper() const { return reinterpret_cast<const float*>(upper_.get()); }
  const float* pivots() const { return reinterpret_cast<const float*>(pivots_.get()); }  // U's diagonal
  const uint8_t* device_dead() const { return reinterpret_cast<const uint8_t*>(device_dead_.get()); }

  // H + lambda I of the groups side by side: RefineMetric, on the device. Made on the first call.
  struct Refinement;
  const Refinement& refinement();

 private:
  void Factor(const SolverOptions& options);
  bool TryFactor(double* a, const int32_t* order, const double* floors);

  DeviceHessian hessian_;
  ColumnOrder order_;
  std::vector<uint8_t> dead_;
  double mean_ = 1, hessian_scale_ = 1, damping_ = 0, lambda_ = 0;
  int attempts_ = 1;
  int64_t floored_ = 0;
  Memory upper_, pivots_, device_dead_;
  std::unique_ptr<Refinement> refinement_;
};

// gptq::SolveMatrix with options that are supported and those of the metric but for bits, grids, clip, refits
// and sweeps. Method::kRoundToNearest rounds on the processor. Throws Error naming `name` where weights are
// not finite or shapes do not fit.
MatrixSolution SolveMatrix(const ConstMatrixView& weight, Metric& metric, Method method,
                           const SolverOptions& options, std::string_view name, ThreadPool& pool,
                           const ConstMatrixView* target = nullptr);

}  // namespace gptq::cuda
