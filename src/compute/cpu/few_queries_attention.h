// Attention of one query or few of them a sequence, as in decoding.
#pragma once

#include "base/thread_pool.h"
#include "compute/backend.h"
#include "compute/cpu/thread_scratch.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {

// As Attend, which checks the shapes. Work is split by sequence, head of keys and piece of the keys.
void AttendFewQueries(const AttentionShape& shape, const VectorKernels& kernels, ThreadPool& pool,
                      ThreadScratch& scratch, MatrixView query, const KvRows& keys, const KvRows& values,
                      MatrixView out);

}  // namespace gptq
