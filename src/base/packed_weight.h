// A quantized matrix as plain data: what the solver returns, formats write and kernels re-lay.
#pragma once

#include <cstdint>
#include <vector>

#include "base/dtype.h"

namespace gptq {

// weight[r][c] = (codes[r][c] - zeros[r][g]) * scales[r][g] in float32, with g = group_index[c].
struct PackedWeight {
  int64_t rows = 0;     // outputs
  int64_t columns = 0;  // inputs
  int64_t groups = 0;
  int64_t group_size = 0;  // columns of a full group (the last one may be shorter); = columns for whole rows
  int bits = 4;            // 2..8
  bool symmetric = true;   // every zero is 2^(bits-1)
  DType scale_type = DType::kF16;    // scales are exact in this type (F16, BF16 or F32)
  std::vector<uint8_t> codes;        // [rows, columns], 0 .. 2^bits - 1
  std::vector<float> scales;         // [rows, groups]
  std::vector<int16_t> zeros;        // [rows, groups], 0 .. 2^bits
  std::vector<int32_t> group_index;  // [columns]

  bool SequentialGroups() const;  // group_index[c] == c / group_size everywhere
};

// Rows [first, first + count) as float32 into `destination` [count, columns]; fast where groups are
// sequential.
void DequantizeRows(const PackedWeight& weight, int64_t first, int64_t count, float* destination);
// Row r as float32 into `destination` [columns].
void DequantizeRow(const PackedWeight& weight, int64_t row, float* destination);

}  // namespace gptq
