// y = x Wᵀ + bias with quantized weights.
#pragma once

#include <span>

#include "base/thread_pool.h"
#include "compute/backend.h"
#include "compute/cpu/packed_inputs.h"
#include "compute/cpu/packed_kernels.h"
#include "compute/cpu/thread_scratch.h"

namespace gptq {

// As Backend::Linears, of quantized weights that take each other's inputs, rounded to 8 bits for each of
// `planes`.
void MultiplyTiled(const PackedKernels& kernels, ThreadPool& pool, ThreadScratch& scratch,
                   PackedInputBuffer& buffer, int planes, MatrixView x,
                   std::span<const LinearProduct> products);

}  // namespace gptq
