// Sizes from files of others, computed without overflow.
#pragma once

#include <cstdint>
#include <optional>

#include "base/dtype.h"
#include "base/tensor.h"

namespace gptq {

// a + b and a * b of non-negative numbers; nothing when the result does not fit.
std::optional<int64_t> CheckedAdd(int64_t a, int64_t b);
std::optional<int64_t> CheckedMultiply(int64_t a, int64_t b);

// Bytes of a tensor; nothing when a dimension is negative, a product does not fit, or the last dimension of a
// block type is not a multiple of the block.
std::optional<int64_t> CheckedByteSize(DType dtype, const Shape& shape);

}  // namespace gptq
