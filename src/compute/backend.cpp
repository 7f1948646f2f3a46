#include "compute/backend.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/convert.h"

namespace gptq {
namespace {

// The largest magnitude, or something larger where there is a NaN: as integers, float32 magnitudes are in the
// same order.
float Largest(const float* x, int64_t n) {
  int32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t magnitude = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
    largest = magnitude > largest ? magnitude : largest;
  }
  return std::bit_cast<float>(largest);
}

// Returns the scale: x = scale * bytes, to half of it. Not finite where x is not.
float RoundToBytes(const float* x, int64_t n, int8_t* bytes) {
  const float largest = Largest(x, n);
  const float factor = largest > 1e-30f ? 127.0f / largest : 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    const float shifted = x[i] * factor + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    bytes[i] = static_cast<int8_t>(std::bit_cast<int32_t>(shifted));
  }
  return largest / 127.0f;
}

}  // namespace

MatrixView Backend::Scratch(int slot, int64_t rows, int64_t columns) {
  CHECK(slot >= 0 && slot < kScratchSlots);
  Resize(scratch_[slot], rows, columns);
  return scratch_[slot].view();
}

void Backend::SwapScratch(int slot, Matrix& matrix) {
  CHECK(slot >= 0 && slot < kScratchSlots);
  std::swap(scratch_[slot], matrix);
}

void Backend::Linears(MatrixView x, std::span<const LinearProduct> products) {
  for (const LinearProduct& product : products) Linear(x, *product.weight, product.bias, product.y);
}

void Backend::Adopt(Matrix& matrix) {
  if (memory() == nullptr) return;
  Matrix moved(matrix.rows(), matrix.columns(), memory());
  Copy(matrix.view(), moved.view());
  matrix = std::move(moved);
}

void Backend::MakeReadable(Matrix& matrix) {
  Matrix copy;
  if (Readable(matrix.view(), copy).data == copy.data() && copy.rows() > 0) matrix = std::move(copy);
}

MatrixView Backend::Readable(MatrixView x, Matrix&) { return x; }

void Backend::Copy(MatrixView from, MatrixView to) {
  CHECK(from.rows == to.rows && from.columns == to.columns);
  std::copy_n(from.data, from.elements(), to.data);
}

void Backend::Zero(MatrixView x) { std::fill_n(x.data, x.elements(), 0.0f); }

void Backend::AddGram(MatrixView, std::span<const float>, MatrixView) { CHECK(false); }

void Backend::Step(StepRecord&, int64_t, const std::function<void()>& step) { step(); }

void Backend::StoreKv(MatrixView rows, int64_t heads, int64_t first, const KvRows& to) {
  CHECK(to.head_rows > 0 && first + rows.rows <= to.head_rows && rows.columns % heads == 0);
  const int64_t width = rows.columns / heads;
  auto* const data = const_cast<std::byte*>(to.data);
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t row = 0; row < rows.rows; ++row) {
      const int64_t place = head * to.head_rows + first + row;
      const float* from = rows.data + row * rows.columns + head * width;
      std::byte* const out = data + ByteSize(to.type, place * width);
      if (to.type == DType::kI8) {
        const_cast<float*>(to.scales)[place] = RoundToBytes(from, width, reinterpret_cast<int8_t*>(out));
      } else {
        FromFloat(from, width, to.type, out);
      }
    }
  }
}

}  // namespace gptq
