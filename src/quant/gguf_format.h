// Integer codes with their scales and zeros as GGUF blocks and back, without rounding anything again.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/packed_weight.h"
#include "base/tensor.h"

namespace gptq {

// What decides in which GGUF type a linear's codes can be kept.
struct GgufCandidate {
  int bits = 4;
  bool symmetric = true;
  int64_t columns = 0;
  int64_t group_size = 128;  // -1 = the whole row
  bool sequential_groups = true;
  DType scale_type = DType::kF16;
};

// The smallest type that keeps every code; why there is none where there is none.
struct GgufChoice {
  std::optional<DType> type;
  bool exact = true;   // values too; else each group's minimum, -zero * scale, is rounded to float16
  std::string reason;  // without a type
};
GgufChoice ChooseGgufType(const GgufCandidate& candidate);

// Rows of blocks [rows, columns]: those of `type`, chosen by ChooseGgufType. Throws Error naming `name` where
// it cannot hold the weight.
Tensor ToGgufBlocks(const PackedWeight& weight, DType type, std::string_view name);

// The codes of a stored matrix, where its grids are those of PackedWeight: groups with float16 scales and
// zeros that are whole numbers (but for the rounding of minima to float16). Neighbouring groups of one grid
// are joined as far as all rows agree. Nothing where they are not, or for other types.
std::optional<PackedWeight> FromGgufBlocks(const TensorView& blocks);

}  // namespace gptq
