#include "workflow/rounding_error.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/convert.h"
#include "base/gguf_block.h"
#include "quant/gguf_rounding.h"

namespace gptq {
namespace {

struct Squares {
  double error = 0, size = 0;
};

// Of rows [first, first + count) of a matrix whose values are rounded to nearest in a type.
Squares RoundingSquares(const TensorView& matrix, int64_t first, int64_t count, DType type) {
  const int64_t width = matrix.row_elements();
  Tensor values = Tensor::Uninitialized(DType::kF32, {count, width});
  ToFloat(matrix.dtype, matrix.data + ByteSize(matrix.dtype, first * width), count * width,
          values.As<float>().data());
  Tensor stored = Tensor::Uninitialized(type, {count, width});
  if (IsBlockType(type)) {
    RoundToGguf(type, values.As<float>().data(), values.elements(), stored.data());
  } else {
    stored = FromFloat(values, type);
  }
  const Tensor rounded = ToFloat(stored.view());
  Squares sums;
  for (int64_t i = 0; i < values.elements(); ++i) {
    const double before = static_cast<double>(values.As<float>()[i]);
    const double difference = static_cast<double>(rounded.As<float>()[i]) - before;
    sums.error += difference * difference;
    sums.size += before * before;
  }
  return sums;
}

}  // namespace

double RoundingError(const TensorView& matrix, DType type, ThreadPool& pool) {
  constexpr int64_t kElements = int64_t{1} << 16;  // few: every thread holds some
  const int64_t width = matrix.row_elements(), rows = width == 0 ? 0 : matrix.elements() / width;
  const int64_t piece = std::max<int64_t>(1, kElements / std::max<int64_t>(1, width));
  std::vector<Squares> pieces(static_cast<size_t>((rows + piece - 1) / piece));
  pool.ParallelFor(static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    const int64_t first = i * piece, count = std::min(piece, rows - first);
    pieces[static_cast<size_t>(i)] = RoundingSquares(matrix, first, count, type);
  });
  Squares sums;
  for (const Squares& of_piece : pieces) {
    sums.error += of_piece.error;
    sums.size += of_piece.size;
  }
  return sums.size == 0 ? 0 : std::sqrt(sums.error / sums.size);
}

}  // namespace gptq
