// Memory for what a thread works on, kept from call to call.
#pragma once

#include <cstdint>
#include <vector>

#include "compute/backend.h"

namespace gptq {

class ThreadScratch {
 public:
  explicit ThreadScratch(int threads) : buffers_(static_cast<size_t>(threads)) {}

  // At least `elements` floats for `thread` alone, aligned to 64 bytes; contents undefined, valid until the
  // same thread asks again.
  float* Get(int thread, int64_t elements) {
    Matrix& buffer = buffers_[static_cast<size_t>(thread)];
    if (buffer.columns() < elements) buffer = Matrix(1, elements);
    return buffer.data();
  }

 private:
  std::vector<Matrix> buffers_;
};

}  // namespace gptq
