// A few rows of a matrix, column by column (see grid.h), and the grids of their groups.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "quant/grid.h"
#include "quant/matrix.h"
#include "quant/solve_result.h"

namespace gptq {

struct TileRows {
  int64_t begin;  // first row of the matrix
  int64_t count;  // <= kTileRows
};

inline int64_t TileCount(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
inline TileRows TileAt(int64_t tile, int64_t rows) {
  return {tile * kTileRows, std::min(kTileRows, rows - tile * kTileRows)};
}

// destination[p * kTileRows + r] = weight[rows.begin + r][columns[p]]; 0 where `dead` (may be empty) marks
// the column.
void LoadTile(const ConstMatrixView& weight, TileRows rows, std::span<const int32_t> columns,
              std::span<const uint8_t> dead, float* destination);

// Scales and zeros of a tile's groups: [groups][kTileRows].
struct TileGrids {
  explicit TileGrids(int64_t groups)
      : scales(static_cast<size_t>(groups * kTileRows), 1.0f),
        zeros(static_cast<size_t>(groups * kTileRows)) {}
  float* scale(int64_t group) { return scales.data() + group * kTileRows; }
  float* zero(int64_t group) { return zeros.data() + group * kTileRows; }

  std::vector<float> scales, zeros;
};

// An empty result of the right sizes.
SolveResult MakeResult(int64_t rows, int64_t columns, int64_t groups, std::span<const int32_t> group_index);

// The finished columns of a tile (`values` and `codes` in the order of `columns`) and its grids into the
// result.
void StoreTile(TileRows rows, std::span<const int32_t> columns, const float* values, const uint8_t* codes,
               TileGrids& grids, SolveResult& result);

// Fills result.saturated_scales.
void CountSaturatedScales(const SolverOptions& options, SolveResult& result);

}  // namespace gptq
