#include "io/checked_size.h"

namespace gptq {

std::optional<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

std::optional<int64_t> CheckedMultiply(int64_t a, int64_t b) {
  int64_t product = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

std::optional<int64_t> CheckedByteSize(DType dtype, const Shape& shape) {
  const DTypeInfo& info = Info(dtype);
  std::optional<int64_t> elements = 1;
  for (int64_t dimension : shape) {
    elements = CheckedMultiply(*elements, dimension);
    if (!elements) return std::nullopt;
  }
  const int64_t row = shape.empty() ? 1 : shape.back();
  if (row % info.block_elements != 0) return std::nullopt;
  return CheckedMultiply(*elements / info.block_elements, info.block_bytes);
}

}  // namespace gptq
