#include "quant/descent_tile.h"

#include <algorithm>

#include "compute/blas.h"

namespace gptq {
namespace {

constexpr int64_t kLongestPiece = 64;  // columns whose codes are descended over before G is updated

}  // namespace

DescentTile::DescentTile(const ConstMatrixView& weight, const RefineMetric& metric_, TileRows rows_,
                         const SolveResult& result)
    : metric(metric_),
      kernels(SelectTileKernels()),
      rows(rows_),
      values(static_cast<size_t>(result.columns * kTileRows)),
      codes(values.size()),
      gradients(values.size()),
      changes(values.size()) {
  const int64_t columns = result.columns;
  LoadTile(ConstMatrix(result.dequantized.data(), result.rows, columns), rows, metric.columns, {},
           values.data());
  LoadTile(weight, rows, metric.columns, metric.dead, changes.data());
  for (size_t i = 0; i < values.size(); ++i) changes[i] -= values[i];
  blas::Gemm(false, false, columns, kTileRows, columns, 1.0f, metric.values.data(), columns, changes.data(),
             kTileRows, 0.0f, gradients.data(), kTileRows);
}

void DescentTile::UpdateGradients(int64_t begin, int64_t end) {
  const auto columns = static_cast<int64_t>(metric.columns.size());
  blas::Gemm(false, false, columns, kTileRows, end - begin, -1.0f, MetricAt(0, begin), columns,
             at(changes, begin), kTileRows, 1.0f, gradients.data(), kTileRows);
}

std::vector<float> DescentTile::MetricBlock(int64_t begin, int64_t end) const {
  const int64_t count = end - begin;
  std::vector<float> block(static_cast<size_t>(count * count));
  for (int64_t i = 0; i < count; ++i)
    std::copy_n(MetricAt(begin + i, begin), count, block.data() + i * count);
  return block;
}

void DescentTile::Descend(int64_t begin, int64_t end, RowGrids grids) {
  grids.groups = nullptr;
  for (; begin < end; begin += kLongestPiece) {
    const int64_t piece = std::min(kLongestPiece, end - begin);
    kernels.descend(piece, MetricBlock(begin, begin + piece).data(), grids, at(gradients, begin),
                    at(values, begin), codes.data() + begin * kTileRows, at(changes, begin));
    UpdateGradients(begin, begin + piece);
  }
}

void DescentTile::Measure(int64_t begin, int64_t end, double* slopes, double* curvatures) {
  float quadratic[kTileRows];
  kernels.quadratic(end - begin, MetricBlock(begin, end).data(), at(changes, begin), quadratic);
  for (int64_t r = 0; r < rows.count; ++r) {
    slopes[r] = 0;
    for (int64_t c = begin; c < end; ++c)
      slopes[r] += static_cast<double>(at(changes, c)[r]) * static_cast<double>(at(gradients, c)[r]);
    curvatures[r] = static_cast<double>(quadratic[r]);
  }
}

void DescentTile::Apply(int64_t begin, int64_t end) {
  for (int64_t i = begin * kTileRows; i < end * kTileRows; ++i) values[i] += changes[i];
  UpdateGradients(begin, end);
}

void DescentTile::SetValues(int64_t begin, int64_t end, const RowGrids& grids) {
  for (int64_t c = begin; c < end; ++c) {
    for (int64_t r = 0; r < rows.count; ++r) {
      const float steps = static_cast<float>(codes[c * kTileRows + r]) - grids.middle;
      const float value = grids.scales[r] * steps + grids.zeros[r];
      at(changes, c)[r] = value - at(values, c)[r];
      at(values, c)[r] = value;
    }
  }
}

}  // namespace gptq
