#include "quant/tile.h"

#include <cmath>

namespace gptq {

void LoadTile(const ConstMatrixView& weight, TileRows rows, std::span<const int32_t> columns,
              std::span<const uint8_t> dead, float* destination) {
  for (size_t p = 0; p < columns.size(); ++p) {
    const int32_t column = columns[p];
    float* out = destination + p * kTileRows;
    if (!dead.empty() && dead[column]) {
      std::fill_n(out, rows.count, 0.0f);
      continue;
    }
    const float* in = weight.row(rows.begin) + column;
    for (int64_t r = 0; r < rows.count; ++r) out[r] = in[r * weight.stride];
  }
}

SolveResult MakeResult(int64_t rows, int64_t columns, int64_t groups, std::span<const int32_t> group_index) {
  SolveResult result;
  result.rows = rows;
  result.columns = columns;
  result.groups = groups;
  result.codes.resize(static_cast<size_t>(rows * columns));
  result.dequantized.resize(static_cast<size_t>(rows * columns));
  result.scales.resize(static_cast<size_t>(rows * groups));
  result.zeros.resize(static_cast<size_t>(rows * groups));
  result.group_index.assign(group_index.begin(), group_index.end());
  return result;
}

void StoreTile(TileRows rows, std::span<const int32_t> columns, const float* values, const uint8_t* codes,
               TileGrids& grids, SolveResult& result) {
  float* dequantized = result.dequantized.data() + rows.begin * result.columns;
  uint8_t* stored = result.codes.data() + rows.begin * result.columns;
  for (size_t p = 0; p < columns.size(); ++p) {
    const int32_t column = columns[p];
    for (int64_t r = 0; r < rows.count; ++r) {
      dequantized[r * result.columns + column] = values[p * kTileRows + r];
      stored[r * result.columns + column] = codes[p * kTileRows + r];
    }
  }
  for (int64_t g = 0; g < result.groups; ++g) {
    for (int64_t r = 0; r < rows.count; ++r) {
      result.scales[(rows.begin + r) * result.groups + g] = grids.scale(g)[r];
      result.zeros[(rows.begin + r) * result.groups + g] = grids.zero(g)[r];
    }
  }
}

void CountSaturatedScales(const SolverOptions& options, SolveResult& result) {
  const float greatest = GreatestScale(options.scale_type);
  result.saturated_scales = std::count_if(result.scales.begin(), result.scales.end(),
                                          [&](float scale) { return std::abs(scale) >= greatest; });
}

}  // namespace gptq
