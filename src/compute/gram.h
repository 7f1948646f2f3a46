// Sums of outer products, shared among the threads of a pool.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "compute/backend.h"

namespace gptq {

class Gram {
 public:
  explicit Gram(int64_t columns) : columns_(columns) {}

  // Upper triangle of sum [columns, columns] += xᵀ x; parts of the lower one become undefined. x: `tokens`
  // rows, `stride` elements apart. Each element is a sum over 256 tokens at a time, in their order: calls may
  // be cut anywhere between these, and results do not depend on the number of threads.
  void Add(const float* x, int64_t tokens, int64_t stride, float* sum, ThreadPool& pool);

 private:
  int64_t columns_;
  Matrix panels_;  // of two blocks of 256 tokens
};

}  // namespace gptq
