#include "compute/cuda/cuda_backend.h"
#include "quant/cuda/solver.h"
#include "quant/device_metric.h"

namespace gptq {
namespace {

class CudaMetric : public DeviceMetric {
 public:
  CudaMetric(cuda::DeviceHessian hessian, const SolverOptions& options, std::string_view name)
      : metric_(std::move(hessian), options, name) {}

  bool Supports(const SolverOptions& options) const override { return cuda::Supports(options); }
  MatrixSolution Solve(const ConstMatrixView& weight, Method method, const SolverOptions& options,
                       std::string_view name, ThreadPool& pool) override {
    return cuda::SolveMatrix(weight, metric_, method, options, name, pool);
  }

 private:
  cuda::Metric metric_;
};

}  // namespace

std::unique_ptr<DeviceMetric> MakeDeviceMetric(Backend& backend, const HessianView& hessian,
                                               const SolverOptions& options, std::string_view name) {
  auto* const cuda_backend = dynamic_cast<cuda::CudaBackend*>(&backend);
  if (cuda_backend == nullptr || !cuda::Supports(options)) return nullptr;
  return std::make_unique<CudaMetric>(cuda::Upload(cuda_backend->device(), hessian), options, name);
}

}  // namespace gptq
