#include "quant/factor.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "base/error.h"
#include "quant/cholesky.h"

namespace gptq {
namespace {

// The reverse of (H' + lambda I) / scale in the order's positions, lower triangle. Reversing turns the upper
// factor M of H = M Mᵀ into an ordinary lower one.
void FillReversed(const HessianView& hessian, const InverseFactor& factor, std::span<const double> floors,
                  double* a, ThreadPool& pool) {
  const int64_t n = hessian.columns;
  pool.ParallelFor(n, [&](int64_t i) {
    const int32_t row = factor.order.columns[n - 1 - i];
    for (int64_t j = 0; j <= i; ++j) {
      const int32_t column = factor.order.columns[n - 1 - j];
      a[i * n + j] = static_cast<double>(hessian.at(row, column)) / factor.hessian_scale;
    }
    double diagonal = factor.dead[row] ? 1.0 : static_cast<double>(hessian.at(row, row));
    if (!floors.empty()) diagonal = std::max(diagonal, floors[row]);
    a[i * n + i] = (diagonal + factor.lambda) / factor.hessian_scale;
  });
}

// U = M⁻¹ from the inverse of the reversed factor. False where an entry leaves float32.
bool StoreUpper(const double* inverse, InverseFactor& factor, ThreadPool& pool) {
  const int64_t n = factor.columns();
  factor.upper.assign(static_cast<size_t>(n * n), 0.0f);
  std::vector<uint8_t> bad(static_cast<size_t>(n));
  pool.ParallelFor(n, [&](int64_t i) {
    float* row = factor.upper.data() + i * n;
    const double* source = inverse + (n - 1 - i) * n;
    for (int64_t j = i; j < n; ++j) {
      row[j] = static_cast<float>(source[n - 1 - j]);
      if (!std::isfinite(row[j])) bad[i] = 1;
    }
    if (!(row[i] > 0.0f)) bad[i] = 1;
  });
  return std::find(bad.begin(), bad.end(), 1) == bad.end();
}

// A little more than the sums of the magnitudes of each row's other entries: with these on the diagonal every
// matrix is positive definite.
std::vector<double> DominantDiagonal(const HessianView& hessian) {
  std::vector<double> sums(static_cast<size_t>(hessian.columns));
  for (int64_t i = 0; i < hessian.columns; ++i) {
    for (int64_t j = i + 1; j < hessian.columns; ++j) {
      const double magnitude = 1.1 * std::abs(static_cast<double>(hessian.at(i, j)));
      sums[i] += magnitude;
      sums[j] += magnitude;
    }
  }
  return sums;
}

double NextDamping(double damping) { return std::min(std::max(2 * damping, 1e-4), 1.0); }

}  // namespace

std::vector<uint8_t> DeadInputs(const HessianView& hessian) {
  std::vector<uint8_t> dead(static_cast<size_t>(hessian.columns));
  for (int64_t i = 0; i < hessian.columns; ++i) dead[i] = hessian.at(i, i) == 0.0f;
  return dead;
}

double MeanDiagonal(const HessianView& hessian) {
  double sum = 0;
  for (int64_t i = 0; i < hessian.columns; ++i) {
    const float value = hessian.at(i, i);
    sum += value == 0.0f ? 1.0 : static_cast<double>(value);
  }
  return hessian.columns > 0 ? sum / static_cast<double>(hessian.columns) : 1.0;
}

std::optional<InverseFactor> FactorInverse(const HessianView& hessian, ColumnOrder order, double damping,
                                           ThreadPool& pool) {
  const int64_t n = hessian.columns;
  CHECK(static_cast<int64_t>(order.columns.size()) == n);
  if (!AllFinite(hessian)) return std::nullopt;
  const double mean = MeanDiagonal(hessian);
  if (!(mean > 0)) return std::nullopt;

  InverseFactor factor;
  factor.order = std::move(order);
  factor.dead = DeadInputs(hessian);
  factor.hessian_scale = std::exp2(std::floor(std::log2(mean)));
  factor.damping = damping;
  std::vector<double> a(static_cast<size_t>(n * n)), floors;
  for (;; ++factor.attempts) {
    factor.lambda = factor.damping * mean;
    FillReversed(hessian, factor, floors, a.data(), pool);
    if (Cholesky(n, a.data(), pool)) {
      InvertTriangle(n, a.data(), pool);
      if (StoreUpper(a.data(), factor, pool)) return factor;
    }
    if (factor.damping < 1.0) {
      factor.damping = NextDamping(factor.damping);
      continue;
    }
    if (!floors.empty()) return std::nullopt;
    floors = DominantDiagonal(hessian);
    for (int64_t i = 0; i < n; ++i) factor.floored += floors[i] > static_cast<double>(hessian.at(i, i));
    factor.damping = std::max(damping, 1e-4);
  }
}

}  // namespace gptq
