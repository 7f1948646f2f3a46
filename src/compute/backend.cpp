#include "compute/backend.h"

#include <utility>

namespace gptq {

MatrixView Backend::Scratch(int slot, int64_t rows, int64_t columns) {
  CHECK(slot >= 0 && slot < kScratchSlots);
  scratch_[slot].Resize(rows, columns);
  return scratch_[slot].view();
}

void Backend::SwapScratch(int slot, Matrix& matrix) {
  CHECK(slot >= 0 && slot < kScratchSlots);
  std::swap(scratch_[slot], matrix);
}

void Backend::Linears(MatrixView x, std::span<const LinearProduct> products) {
  for (const LinearProduct& product : products) Linear(x, *product.weight, product.bias, product.y);
}

}  // namespace gptq
