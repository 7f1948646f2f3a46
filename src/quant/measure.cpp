#include "quant/measure.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "compute/blas.h"
#include "quant/factor.h"

namespace gptq {
namespace {

constexpr int64_t kErrorTile = 256;  // rows and columns of a piece of work

struct ErrorSums {
  double error = 0;       // tr(D H Dᵀ), D = W - Q
  double weight = 0;      // tr(W H Wᵀ)
  double difference = 0;  // |D|² outside dead columns
};

// H[i.., j..] of the upper triangle with half the diagonal, so that x H x = 2 x T x.
void LoadHalf(const HessianView& hessian, int64_t i, int64_t height, int64_t j, int64_t width, double* tile) {
  for (int64_t r = 0; r < height; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const double factor = i + r < j + c ? 1.0 : i + r == j + c ? 0.5 : 0.0;
      tile[r * width + c] =
          factor == 0.0 ? 0.0 : factor * static_cast<double>(hessian.data[(i + r) * hessian.columns + j + c]);
    }
  }
}

// Rows of D, then the same rows of W, columns [at, at + width).
void LoadRows(const ConstMatrixView& weight, const ConstMatrixView& quantized, int64_t row, int64_t height,
              int64_t at, int64_t width, double* out) {
  for (int64_t r = 0; r < height; ++r) {
    const float* w = weight.row(row + r) + at;
    const float* q = quantized.row(row + r) + at;
    double* difference = out + r * width;
    double* plain = out + (height + r) * width;
    for (int64_t c = 0; c < width; ++c) {
      plain[c] = static_cast<double>(w[c]);
      difference[c] = plain[c] - static_cast<double>(q[c]);
    }
  }
}

double Dot(const double* a, const double* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

LayerError MeasureError(const ConstMatrixView& weight, const ConstMatrixView& quantized,
                        const HessianView& hessian, double lambda, ThreadPool& pool) {
  const int64_t rows = weight.rows, columns = weight.columns;
  CHECK(quantized.rows == rows && quantized.columns == columns && hessian.columns == columns);
  const std::vector<uint8_t> dead = DeadInputs(hessian);
  const int64_t column_tiles = (columns + kErrorTile - 1) / kErrorTile,
                row_tiles = (rows + kErrorTile - 1) / kErrorTile;
  std::vector<ErrorSums> pieces(static_cast<size_t>(row_tiles * column_tiles));
  pool.ParallelFor(static_cast<int64_t>(pieces.size()), [&](int64_t piece) {
    const int64_t j = piece % column_tiles * kErrorTile, width = std::min(kErrorTile, columns - j);
    const int64_t row = piece / column_tiles * kErrorTile, height = std::min(kErrorTile, rows - row);
    std::vector<double> product(static_cast<size_t>(2 * height * width)), left(2 * height * kErrorTile);
    std::vector<double> half(kErrorTile * kErrorTile);
    // Ends with the diagonal tile, so that `left` then holds columns j.. themselves.
    for (int64_t i = 0; i <= j; i += kErrorTile) {
      const int64_t depth = std::min(kErrorTile, columns - i);
      LoadRows(weight, quantized, row, height, i, depth, left.data());
      LoadHalf(hessian, i, depth, j, width, half.data());
      blas::Gemm(false, false, 2 * height, width, depth, 1.0, left.data(), depth, half.data(), width, 1.0,
                 product.data(), width);
    }
    ErrorSums& sums = pieces[piece];
    sums.error = 2 * Dot(product.data(), left.data(), height * width);
    sums.weight = 2 * Dot(product.data() + height * width, left.data() + height * width, height * width);
    for (int64_t r = 0; r < height; ++r) {
      for (int64_t c = 0; c < width; ++c) {
        if (!dead[j + c]) sums.difference += left[r * width + c] * left[r * width + c];
      }
    }
  });
  ErrorSums total;
  for (const ErrorSums& sums : pieces) {
    total.error += sums.error;
    total.weight += sums.weight;
    total.difference += sums.difference;
  }
  // Round-off may leave a sum that should be 0 just below it.
  total.error = std::max(total.error, 0.0);
  return {total.error + lambda * total.difference,
          total.weight > 0 ? std::sqrt(total.error / total.weight) : 0.0, total.weight};
}

}  // namespace gptq
