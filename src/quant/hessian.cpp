#include "quant/hessian.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "compute/blas.h"
#include "quant/matrix.h"

namespace gptq {
namespace {

constexpr int64_t kChunkTokens = 512;
constexpr int64_t kTargetTile = 256;

// Equal output tiles, so that threads end together.
int64_t TileSize(int64_t columns) {
  const int64_t tiles = std::max<int64_t>(1, (columns + kTargetTile - 1) / kTargetTile);
  return std::max<int64_t>(16, ((columns + tiles - 1) / tiles + 15) / 16 * 16);
}

}  // namespace

std::vector<float> HessianView::Diagonal() const {
  std::vector<float> diagonal(static_cast<size_t>(columns));
  for (int64_t i = 0; i < columns; ++i) diagonal[i] = data[i * columns + i];
  return diagonal;
}

bool AllFinite(const HessianView& hessian) {
  for (int64_t i = 0; i < hessian.columns; ++i) {
    if (!AllFinite(ConstMatrix(hessian.data + i * hessian.columns + i, 1, hessian.columns - i))) return false;
  }
  return true;
}

HessianAccumulator::HessianAccumulator(int64_t columns)
    : columns_(columns), sum_(static_cast<size_t>(columns * columns)) {
  CHECK(columns >= 0);
}

void HessianAccumulator::Add(const float* x, int64_t tokens, int64_t stride, ThreadPool& pool) {
  CHECK(tokens >= 0 && stride >= columns_);
  tokens_ += tokens;
  while (tokens > 0) {
    int64_t taken = kChunkTokens;
    if (pending_ == 0 && tokens >= kChunkTokens) {
      AddChunk(x, kChunkTokens, stride, pool);
    } else {
      chunk_.resize(static_cast<size_t>(kChunkTokens * columns_));
      taken = std::min(tokens, kChunkTokens - pending_);
      for (int64_t t = 0; t < taken; ++t) {
        std::copy_n(x + t * stride, columns_, chunk_.data() + (pending_ + t) * columns_);
      }
      pending_ += taken;
      if (pending_ == kChunkTokens) {
        AddChunk(chunk_.data(), kChunkTokens, columns_, pool);
        pending_ = 0;
      }
    }
    tokens -= taken;
    x += taken * stride;
  }
}

void HessianAccumulator::AddChunk(const float* x, int64_t tokens, int64_t stride, ThreadPool& pool) {
  const int64_t tile = TileSize(columns_), tiles = (columns_ + tile - 1) / tile;
  std::vector<std::pair<int64_t, int64_t>> pieces;
  for (int64_t i = 0; i < tiles; ++i) {
    for (int64_t j = i; j < tiles; ++j) pieces.emplace_back(i * tile, j * tile);
  }
  pool.ParallelFor(static_cast<int64_t>(pieces.size()), [&](int64_t piece) {
    const auto [i, j] = pieces[piece];
    const int64_t height = std::min(tile, columns_ - i), width = std::min(tile, columns_ - j);
    float* out = sum_.data() + i * columns_ + j;
    if (i == j) {
      blas::Syrk(height, tokens, 1.0f, x + i, stride, out, columns_);
    } else {
      blas::Gemm(true, false, height, width, tokens, 1.0f, x + i, stride, x + j, stride, 1.0f, out, columns_);
    }
  });
}

Hessian HessianAccumulator::Finish(ThreadPool& pool) {
  if (pending_ > 0) AddChunk(chunk_.data(), pending_, columns_, pool);
  const float scale = tokens_ > 0 ? static_cast<float>(2.0 / static_cast<double>(tokens_)) : 0.0f;
  pool.ParallelFor(columns_, [&](int64_t i) {
    for (int64_t j = i; j < columns_; ++j) sum_[i * columns_ + j] *= scale;
  });
  chunk_ = {};
  return {columns_, tokens_, std::move(sum_)};
}

}  // namespace gptq
