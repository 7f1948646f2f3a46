#include "quant/target_shift.h"

#include <algorithm>

#include "base/error.h"
#include "compute/blas.h"

namespace gptq {
namespace {

constexpr int64_t kShiftTokens = 512;
constexpr int64_t kShiftTile = 256;
constexpr int64_t kRows = 64;

}  // namespace

DifferenceMoment::DifferenceMoment(int64_t rows, int64_t columns)
    : rows_(rows),
      columns_(columns),
      difference_(static_cast<size_t>(kShiftTokens * rows)),
      sum_(static_cast<size_t>(rows * columns)) {}

void DifferenceMoment::Add(const float* unquantized, const float* quantized, const float* input,
                           int64_t tokens, ThreadPool& pool) {
  const int64_t tall = (rows_ + kShiftTile - 1) / kShiftTile, wide = (columns_ + kShiftTile - 1) / kShiftTile;
  for (int64_t begin = 0; begin < tokens; begin += kShiftTokens) {
    const int64_t count = std::min(kShiftTokens, tokens - begin);
    const float* f = unquantized + begin * rows_;
    const float* q = quantized + begin * rows_;
    const float* x = input + begin * columns_;
    pool.ParallelFor(count, [&](int64_t t) {
      for (int64_t i = t * rows_; i < (t + 1) * rows_; ++i) difference_[i] = f[i] - q[i];
    });
    pool.ParallelFor(tall * wide, [&](int64_t tile) {
      const int64_t i = tile / wide * kShiftTile, j = tile % wide * kShiftTile;
      blas::Gemm(true, false, std::min(kShiftTile, rows_ - i), std::min(kShiftTile, columns_ - j), count,
                 1.0f, difference_.data() + i, rows_, x + j, columns_, 1.0f, sum_.data() + i * columns_ + j,
                 columns_);
    });
  }
  tokens_ += tokens;
}

std::vector<float> TargetShift::Target(const ConstMatrixView& weight, const InverseFactor& factor,
                                       ThreadPool& pool) const {
  const int64_t n = weight.columns;
  CHECK(factor.columns() == n && (!input || input->rows() == n) &&
        (!residual || residual->rows() == weight.rows));
  std::vector<float> target(static_cast<size_t>(weight.rows * n));
  pool.ParallelFor((weight.rows + kRows - 1) / kRows, [&](int64_t tile) {
    const int64_t begin = tile * kRows, rows = std::min(kRows, weight.rows - begin);
    std::vector<float> product(static_cast<size_t>(rows * n)), ordered(product.size());
    if (input) {
      blas::Gemm(false, false, rows, n, n, static_cast<float>(input_share * input->scale()),
                 weight.row(begin), weight.stride, input->sum(), n, 0.0f, product.data(), n);
    }
    const auto residual_scale = residual ? static_cast<float>(residual_share * residual->scale()) : 0.0f;
    for (int64_t r = 0; r < rows; ++r) {
      const float* lost = residual ? residual->sum() + (begin + r) * n : nullptr;
      for (int64_t p = 0; p < n; ++p) {
        const int32_t column = factor.order.columns[p];
        ordered[r * n + p] =
            product[r * n + column] + (lost == nullptr ? 0.0f : residual_scale * lost[column]);
      }
    }
    // times (H + lambda I)⁻¹ = UᵀU / hessian_scale, in the factor's order
    blas::Gemm(false, true, rows, n, n, 1.0f, ordered.data(), n, factor.upper.data(), n, 0.0f, product.data(),
               n);
    blas::Gemm(false, false, rows, n, n, static_cast<float>(1 / factor.hessian_scale), product.data(), n,
               factor.upper.data(), n, 0.0f, ordered.data(), n);
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
