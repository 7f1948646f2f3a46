// How much attention each token gets: the column sums of the attention matrix.
#pragma once

#include <span>

#include "base/thread_pool.h"
#include "compute/backend.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {

// As Backend::ReceivedAttention. Threads share the heads; they are added in their order.
void SumReceivedAttention(const AttentionShape& shape, const VectorKernels& kernels, ThreadPool& pool,
                          MatrixView query, const float* keys, std::span<float> received);

}  // namespace gptq
