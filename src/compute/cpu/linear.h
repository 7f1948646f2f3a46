// y = x Wᵀ + bias on the processor.
#pragma once

#include <span>

#include "base/thread_pool.h"
#include "compute/backend.h"
#include "compute/cpu/thread_scratch.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {

// What the product needs of its backend.
struct LinearContext {
  const VectorKernels& kernels;
  ThreadPool& pool;
  ThreadScratch& scratch;
  Matrix& panels;  // of the weights at hand; grows to 32 MiB at most, or one panel
};

// As Backend::Linear. Up to 8 rows go as matrix-vector products, more through packed panels of the weights.
void MultiplyLinear(const LinearContext& context, MatrixView x, const Weight& weight,
                    std::span<const float> bias, MatrixView y);

}  // namespace gptq
