// Memory for what a thread works on, kept from call to call.
#pragma once

#include <cstdint>
#include <vector>

#include "compute/backend.h"

namespace gptq {

class ThreadScratch {
 public:
  explicit ThreadScratch(int threads) : buffers_(static_cast<size_t>(threads)) {}

  // Memory for all threads together, for the caller of a parallel loop.
  float* Shared(int64_t elements) { return AtLeast(elements, shared_); }

  // At least `elements` floats for `thread` alone, aligned to 64 bytes; contents undefined, valid until the
  // same thread asks again.
  float* Get(int thread, int64_t elements) {
    return AtLeast(elements, buffers_[static_cast<size_t>(thread)]);
  }

 private:
  static float* AtLeast(int64_t elements, Matrix& buffer) {
    if (buffer.columns() < elements) buffer = Matrix(1, elements);
    return buffer.data();
  }

  Matrix shared_;
  std::vector<Matrix> buffers_;
};

}  // namespace gptq
