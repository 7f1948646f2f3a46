// A tile's solution while it is improved (refine.h): Q, its codes, and G = (W - Q) H, kept in step.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/refine.h"
#include "quant/tile.h"
#include "quant/tile_kernels.h"

namespace gptq {

struct DescentTile {
  // Q is `result`'s; the codes are the caller's to fill in.
  DescentTile(const ConstMatrixView& weight, const RefineMetric& metric, TileRows rows,
              const SolveResult& result);

  float* at(std::vector<float>& matrix, int64_t column) { return matrix.data() + column * kTileRows; }

  // Each code of columns [begin, end), all of the grids' one group, to the best value that all others leave.
  void Descend(int64_t begin, int64_t end, RowGrids grids);
  // For each row's d = `changes` of these columns: sum of d g, and d H dᵀ.
  void Measure(int64_t begin, int64_t end, double* slopes, double* curvatures);
  // Q += changes.
  void Apply(int64_t begin, int64_t end);
  // Q becomes what the grids make of the codes, scale * (code - middle) + zero, at these columns of one
  // group.
  void SetValues(int64_t begin, int64_t end, const RowGrids& grids);
  // G after columns [begin, end) of Q have changed by `changes`.
  void UpdateGradients(int64_t begin, int64_t end);

  const RefineMetric& metric;
  const TileKernels& kernels;
  TileRows rows;
  // [columns][kTileRows], in the metric's order
  std::vector<float> values;
  std::vector<uint8_t> codes;
  std::vector<float> gradients;
  std::vector<float> changes;  // of Q, not yet in G

 private:
  const float* MetricAt(int64_t i, int64_t j) const {
    return metric.values.data() + i * static_cast<int64_t>(metric.columns.size()) + j;
  }
  std::vector<float> MetricBlock(int64_t begin, int64_t end) const;
};

}  // namespace gptq
