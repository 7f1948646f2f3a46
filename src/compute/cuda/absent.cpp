// In the place of the CUDA backend where it is not built (cmake/cuda.cmake).
#include "base/error.h"
#include "compute/backend.h"

namespace gptq {

std::unique_ptr<Backend> MakeCudaBackend(int, int64_t) {
  throw Error("this program was built without CUDA", "--device cuda",
              "use --device cpu, or build it with -DGPTQ_CUDA=ON where the CUDA toolkit is");
}

int CudaDeviceCount() { return 0; }

}  // namespace gptq
