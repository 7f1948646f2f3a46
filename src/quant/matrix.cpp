#include "quant/matrix.h"

#include <bit>

namespace gptq {

bool AllFinite(const ConstMatrixView& matrix) {
  for (int64_t r = 0; r < matrix.rows; ++r) {
    const float* row = matrix.row(r);
    uint32_t bad = 0;
    for (int64_t c = 0; c < matrix.columns; ++c) {
      bad |= static_cast<uint32_t>((std::bit_cast<uint32_t>(row[c]) & 0x7f800000u) == 0x7f800000u);
    }
    if (bad != 0) return false;
  }
  return true;
}

}  // namespace gptq
