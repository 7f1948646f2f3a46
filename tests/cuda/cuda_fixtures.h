// A backend on the GPU, or on its emulation; the tests of a machine without either are skipped visibly.
#pragma once

#include "compute/cuda/cuda_backend.h"
#include "tests/compute/plain.h"
#include "tests/test_util.h"

namespace gptq {

class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda::DeviceCount() == 0) GTEST_SKIP() << "there is no CUDA device";
    backend_ = std::make_unique<cuda::CudaBackend>(2, 0);
  }
  Backend& backend() { return *backend_; }
  // The emulation takes seconds for what a GPU does at once.
  static bool has_time() {
#ifdef GPTQ_CUDA_EMULATED
    const char* asked = std::getenv("GPTQ_LONG_TESTS");
    return asked != nullptr && std::string_view(asked) == "1";
#else
    return true;
#endif
  }

  std::unique_ptr<cuda::CudaBackend> backend_;
};

}  // namespace gptq
