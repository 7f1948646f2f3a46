// Causal attention in blocks of keys with a running softmax: memory does not grow with the context.
#pragma once

#include <vector>

#include "base/thread_pool.h"
#include "compute/backend.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {

// As Backend::Attend. `scratch`: one buffer per thread of the pool, grown as needed. Work is split by
// sequence, head and tile of queries, so results do not depend on the number of threads.
void AttendCausal(const AttentionShape& shape, const VectorKernels& kernels, ThreadPool& pool,
                  std::vector<std::vector<float>>& scratch, MatrixView query, const float* keys,
                  const float* values, MatrixView out);

}  // namespace gptq
