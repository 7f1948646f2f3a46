#include "compute/cuda/cuda_backend.h"

namespace gptq {

std::unique_ptr<Backend> MakeCudaBackend(int threads, int64_t memory_limit) {
  return std::make_unique<cuda::CudaBackend>(threads, memory_limit);
}

int CudaDeviceCount() { return cuda::DeviceCount(); }

}  // namespace gptq
