#include "quant/target_shift.h"

#include <algorithm>

#include "base/error.h"
#include "compute/blas.h"

namespace gptq {
namespace {

constexpr int64_t kChunkTokens = 512;
constexpr int64_t kTile = 256;
constexpr int64_t kRows = 64;

}  // namespace

InputShift::InputShift(int64_t columns)
    : columns_(columns),
      difference_(static_cast<size_t>(kChunkTokens * columns)),
      sum_(static_cast<size_t>(columns * columns)) {}

void InputShift::Add(const float* unquantized, const float* quantized, int64_t tokens, ThreadPool& pool) {
  const int64_t tiles = (columns_ + kTile - 1) / kTile;
  for (int64_t begin = 0; begin < tokens; begin += kChunkTokens) {
    const int64_t count = std::min(kChunkTokens, tokens - begin);
    const float* f = unquantized + begin * columns_;
    const float* x = quantized + begin * columns_;
    pool.ParallelFor(count, [&](int64_t t) {
      for (int64_t i = t * columns_; i < (t + 1) * columns_; ++i) difference_[i] = f[i] - x[i];
    });
    pool.ParallelFor(tiles * tiles, [&](int64_t tile) {
      const int64_t i = tile / tiles * kTile, j = tile % tiles * kTile;
      blas::Gemm(true, false, std::min(kTile, columns_ - i), std::min(kTile, columns_ - j), count, 1.0f,
                 difference_.data() + i, columns_, x + j, columns_, 1.0f, sum_.data() + i * columns_ + j,
                 columns_);
    });
  }
  tokens_ += tokens;
}

std::vector<float> InputShift::Target(const ConstMatrixView& weight, const InverseFactor& factor,
                                      double alpha, ThreadPool& pool) const {
  CHECK(weight.columns == columns_ && factor.columns() == columns_);
  const int64_t n = columns_;
  std::vector<float> target(static_cast<size_t>(weight.rows * n));
  const double tokens = static_cast<double>(std::max<int64_t>(tokens_, 1));
  const auto scale = static_cast<float>(alpha * 2.0 / tokens / factor.hessian_scale);
  pool.ParallelFor((weight.rows + kRows - 1) / kRows, [&](int64_t tile) {
    const int64_t begin = tile * kRows, rows = std::min(kRows, weight.rows - begin);
    std::vector<float> product(static_cast<size_t>(rows * n)), ordered(product.size());
    blas::Gemm(false, false, rows, n, n, 1.0f, weight.row(begin), weight.stride, sum_.data(), n, 0.0f,
               product.data(), n);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t p = 0; p < n; ++p) ordered[r * n + p] = product[r * n + factor.order.columns[p]];
    }
    // times (H + lambda I)⁻¹ = UᵀU / hessian_scale, in the factor's order
    blas::Gemm(false, true, rows, n, n, 1.0f, ordered.data(), n, factor.upper.data(), n, 0.0f, product.data(),
               n);
    blas::Gemm(false, false, rows, n, n, scale, product.data(), n, factor.upper.data(), n, 0.0f,
               ordered.data(), n);
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = weight.row(begin + r);
      for (int64_t p = 0; p < n; ++p) {
        const int32_t column = factor.order.columns[p];
        target[(begin + r) * n + column] = from[column] + ordered[r * n + p];
      }
    }
  });
  return target;
}

}  // namespace gptq
