// Attention in blocks of keys with a running softmax: memory does not grow with the context.
#pragma once

#include "base/thread_pool.h"
#include "compute/backend.h"
#include "compute/cpu/thread_scratch.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {

// As Backend::Attend. Work is split by sequence, head and tile of queries, so results do not depend on the
// number of threads.
void Attend(const AttentionShape& shape, const VectorKernels& kernels, ThreadPool& pool,
            ThreadScratch& scratch, MatrixView query, const KvRows& keys, const KvRows& values,
            MatrixView out);

}  // namespace gptq
