// A borrowed row-major float32 matrix.
#pragma once

#include <cstdint>

namespace gptq {

struct ConstMatrixView {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;  // elements between rows

  const float* row(int64_t r) const { return data + r * stride; }
};

// Contiguous rows.
inline ConstMatrixView ConstMatrix(const float* data, int64_t rows, int64_t columns) {
  return {data, rows, columns, columns};
}

// False where an element is NaN or infinite.
bool AllFinite(const ConstMatrixView& matrix);

}  // namespace gptq
