#include "quant/cholesky.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "compute/blas.h"

namespace gptq {
namespace {

int64_t TileSize(int64_t n) { return n < 4096 ? 128 : 256; }

struct Tiles {
  int64_t n, size;
  int64_t count() const { return (n + size - 1) / size; }
  int64_t begin(int64_t t) const { return t * size; }
  int64_t width(int64_t t) const { return std::min(size, n - t * size); }
};

void ClearAboveDiagonal(int64_t n, double* a, int64_t stride) {
  for (int64_t i = 0; i < n; ++i) std::fill(a + i * stride + i + 1, a + i * stride + n, 0.0);
}

bool PositiveDiagonal(int64_t n, const double* a, int64_t stride) {
  for (int64_t i = 0; i < n; ++i) {
    const double pivot = a[i * stride + i];
    if (!(pivot > 0.0) || !std::isfinite(pivot)) return false;
  }
  return true;
}

// Inverse of the lower triangle `l` [n, n], zeros above.
std::vector<double> InverseOfTile(int64_t n, const double* l, int64_t stride) {
  std::vector<double> inverse(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) std::copy_n(l + i * stride, i + 1, inverse.data() + i * n);
  CHECK(blas::InvertLower(n, inverse.data(), n));
  return inverse;
}

}  // namespace

bool Cholesky(int64_t n, double* a, ThreadPool& pool) {
  const Tiles tiles{n, TileSize(n)};
  std::vector<std::vector<double>> scratch(static_cast<size_t>(pool.threads()));
  for (int64_t k = 0; k < tiles.count(); ++k) {
    const int64_t at = tiles.begin(k), width = tiles.width(k);
    double* pivot = a + at * n + at;
    if (!blas::CholeskyLower(width, pivot, n) || !PositiveDiagonal(width, pivot, n)) return false;
    const std::vector<double> inverse = InverseOfTile(width, pivot, n);
    const int64_t below = tiles.count() - k - 1;
    // The panel below: A_ik = A_ik L_kk^-T.
    pool.ParallelFor(below, [&](int64_t piece, int thread) {
      const int64_t i = k + 1 + piece, height = tiles.width(i);
      double* tile = a + tiles.begin(i) * n + at;
      std::vector<double>& copy = scratch[thread];
      copy.resize(static_cast<size_t>(height * width));
      for (int64_t r = 0; r < height; ++r) std::copy_n(tile + r * n, width, copy.data() + r * width);
      blas::Gemm(false, true, height, width, width, 1.0, copy.data(), width, inverse.data(), width, 0.0, tile,
                 n);
    });
    // The rest: A_ij -= A_ik A_jkᵀ, j <= i.
    pool.ParallelFor(below * (below + 1) / 2, [&](int64_t piece) {
      int64_t row = static_cast<int64_t>((std::sqrt(8.0 * static_cast<double>(piece) + 1.0) - 1.0) / 2.0);
      while (row * (row + 1) / 2 > piece) --row;
      while ((row + 1) * (row + 2) / 2 <= piece) ++row;
      const int64_t i = k + 1 + row, j = k + 1 + piece - row * (row + 1) / 2;
      blas::Gemm(false, true, tiles.width(i), tiles.width(j), width, -1.0, a + tiles.begin(i) * n + at, n,
                 a + tiles.begin(j) * n + at, n, 1.0, a + tiles.begin(i) * n + tiles.begin(j), n);
    });
  }
  return true;
}

void InvertTriangle(int64_t n, double* l, ThreadPool& pool) {
  const Tiles tiles{n, TileSize(n)};
  std::vector<std::vector<double>> scratch(static_cast<size_t>(pool.threads()));
  std::vector<double> panel;
  // From the last column of tiles to the first: everything to the right of column j is already inverted, so
  // X_ij = -(sum over j < k <= i of X_ik L_kj) X_jj.
  for (int64_t j = tiles.count() - 1; j >= 0; --j) {
    const int64_t at = tiles.begin(j), width = tiles.width(j), next = at + width;
    double* pivot = l + at * n + at;
    CHECK(blas::InvertLower(width, pivot, n));
    ClearAboveDiagonal(width, pivot, n);
    panel.resize(static_cast<size_t>((n - next) * width));
    for (int64_t r = next; r < n; ++r) std::copy_n(l + r * n + at, width, panel.data() + (r - next) * width);
    const int64_t below = tiles.count() - j - 1;
    pool.ParallelFor(below, [&](int64_t piece, int thread) {
      const int64_t i = tiles.count() - 1 - piece, row = tiles.begin(i), height = tiles.width(i);
      std::vector<double>& product = scratch[thread];
      product.resize(static_cast<size_t>(height * width));
      blas::Gemm(false, false, height, width, row + height - next, 1.0, l + row * n + next, n, panel.data(),
                 width, 0.0, product.data(), width);
      blas::Gemm(false, false, height, width, width, -1.0, product.data(), width, pivot, n, 0.0,
                 l + row * n + at, n);
    });
  }
}

}  // namespace gptq
