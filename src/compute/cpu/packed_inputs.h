// Inputs of products with quantized weights as the kernels want them (packed_kernels.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "compute/backend.h"
#include "compute/cpu/packed_kernels.h"
#include "compute/cpu/thread_scratch.h"
#include "compute/tiled_weight.h"

namespace gptq {

// The inputs of the product at hand; its memory is kept from call to call.
class PackedInputBuffer {
 public:
  // Rows of x in `planes` bytes each, as multiply_many takes them if `in_groups`. Valid until the next call.
  PackedInputs Pack(const PackedKernels& kernels, ThreadPool& pool, ThreadScratch& scratch, int planes,
                    bool in_groups, MatrixView x, const TiledWeight& weight);

 private:
  class Packer;

  std::vector<std::byte> values_;
  std::vector<float> scales_, scaled_sums_;
  std::vector<int32_t> sums_;
  std::vector<Outlier> row_outliers_, outliers_;  // row by row, and column by column
  std::vector<int64_t> outlier_counts_;           // of each row
  std::vector<OutlierColumn> outlier_columns_;
  std::vector<Outliers> chunk_outliers_;
};

}  // namespace gptq
