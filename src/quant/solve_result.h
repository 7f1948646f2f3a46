// What quantizing one matrix gives.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/packed_weight.h"
#include "base/tensor.h"
#include "quant/options.h"

namespace gptq {

struct SolveResult {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t groups = 0;
  // Codes and grids; empty where the grids are a GGUF type's own: `blocks` hold them then.
  std::vector<uint8_t> codes;        // [rows, columns]
  std::vector<float> scales;         // [rows, groups], exact in the options' scale type
  std::vector<float> zeros;          // [rows, groups], whole numbers (ternary: the value of code 0)
  std::vector<int32_t> group_index;  // [columns]
  Tensor blocks;                     // [rows, columns] of options.gguf_type
  std::vector<float> dequantized;    // [rows, columns]
  double loss = 0;                   // sum of e² over the column loop; 0 from round-to-nearest
  int64_t saturated_scales = 0;      // that did not fit the scale type and were cut to its greatest value
};

// The codes as they are, never derived again from the weights. A ternary grid becomes a symmetric one of 2
// bits; throws Error naming `name` where its minimum is not minus its maximum (asymmetric ternary grids have
// no such form).
PackedWeight ToPackedWeight(const SolveResult& result, const SolverOptions& options, std::string_view name);

}  // namespace gptq
