// In the place of the solver on the GPU where that is not built (cmake/cuda.cmake).
#include "quant/device_metric.h"

namespace gptq {

std::unique_ptr<DeviceMetric> MakeDeviceMetric(Backend&, const HessianView&, const SolverOptions&,
                                               std::string_view) {
  return nullptr;
}

}  // namespace gptq
