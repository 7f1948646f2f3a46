// y = x Wᵀ + bias with quantized weights.
#pragma once

#include <span>

#include "base/thread_pool.h"
#include "compute/backend.h"
#include "compute/cpu/packed_kernels.h"
#include "compute/cpu/thread_scratch.h"
#include "compute/tiled_weight.h"

namespace gptq {

// The inputs of the product at hand as the kernels want them; its memory is kept from call to call.
class PackedInputBuffer {
 public:
  // Packs rows of x in `planes` bytes each.
  PackedInputs Pack(const PackedKernels& kernels, ThreadPool& pool, ThreadScratch& scratch, int planes,
                    bool in_groups, MatrixView x, const TiledWeight& weight);

 private:
  std::vector<std::byte> values_;
  std::vector<float> scales_, scaled_sums_;
  std::vector<int32_t> sums_;
};

// As Backend::Linears, of quantized weights that take each other's inputs, rounded to 8 bits for each of
// `planes`.
void MultiplyTiled(const PackedKernels& kernels, ThreadPool& pool, ThreadScratch& scratch,
                   PackedInputBuffer& buffer, int planes, MatrixView x,
                   std::span<const LinearProduct> products);

}  // namespace gptq
