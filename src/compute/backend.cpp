#include "compute/backend.h"

namespace gptq {

MatrixView Backend::Scratch(int slot, int64_t rows, int64_t columns) {
  CHECK(slot >= 0 && slot < kScratchSlots);
  Matrix& matrix = scratch_[slot];
  if (matrix.rows() * matrix.columns() < rows * columns) matrix = Matrix(rows, columns);
  return {matrix.data(), rows, columns};
}

}  // namespace gptq
