#include "quant/gguf_tile.h"

#include <algorithm>

#include "base/convert.h"
#include "base/error.h"
#include "quant/gguf_rounding.h"

namespace gptq {

void SetGgufType(DType type, SolverOptions& options) {
  const GgufBlockType* block = FindGgufBlockType(type);
  CHECK(block != nullptr);
  options.gguf_type = type;
  options.bits = block->bits;
  options.symmetric = !block->minima;
  options.group_size = block->columns;
}

const GgufBlockType* BlockTypeOf(const SolverOptions& options) {
  if (!options.gguf_type) return nullptr;
  const GgufBlockType* type = FindGgufBlockType(*options.gguf_type);
  CHECK(type != nullptr && options.group_size == type->columns);
  return type;
}

SolveResult MakeBlockResult(int64_t rows, int64_t columns, const GgufBlockType& type) {
  CHECK(columns % type.columns == 0);
  SolveResult result;
  result.rows = rows;
  result.columns = columns;
  result.groups = columns / type.group_columns;
  for (int64_t c = 0; c < columns; ++c)
    result.group_index.push_back(static_cast<int32_t>(c / type.group_columns));
  result.blocks = Tensor::Uninitialized(type.dtype, {rows, columns});
  result.dequantized.resize(static_cast<size_t>(rows * columns));
  return result;
}

GgufTile::GgufTile(const GgufBlockType& type, int64_t columns)
    : type_(type),
      blocks_(columns / type.columns),
      grids_(static_cast<size_t>(blocks_ * kTileRows)),
      scales_(static_cast<size_t>(groups() * kTileRows), 1.0f),
      minima_(scales_.size()) {}

RowGrids GgufTile::Grids(int64_t group) const {
  return {scales_.data() + group * kTileRows,
          minima_.data() + group * kTileRows,
          nullptr,
          static_cast<float>(type_.maximum_code()),
          GridKind::kLine,
          static_cast<float>(type_.middle())};
}

void GgufTile::Fit(std::span<const int32_t> columns, const float* values, const float* pivots, int64_t rows) {
  CHECK(static_cast<int64_t>(columns.size()) == type_.columns);
  const int64_t block = columns[0] / type_.columns;
  float weights[kMostBlockColumns], importance[kMostBlockColumns];
  for (int64_t i = 0; pivots != nullptr && i < type_.columns; ++i)
    importance[columns[i] - block * type_.columns] = 1.0f / (pivots[i] * pivots[i]);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < type_.columns; ++i)
      weights[columns[i] - block * type_.columns] = values[i * kTileRows + r];
    grid(block, r) = FitGgufBlock(type_, weights, pivots == nullptr ? nullptr : importance);
    Show(block, r);
  }
}

void GgufTile::Show(int64_t block, int64_t row) {
  for (int64_t g = 0; g < type_.groups(); ++g) {
    const int64_t at = (block * type_.groups() + g) * kTileRows + row;
    scales_[at] = grid(block, row).GroupScale(type_, g);
    minima_[at] = grid(block, row).GroupMinimum(type_, g);
  }
}

void GgufTile::Store(TileRows rows, std::span<const int32_t> columns, const uint8_t* codes,
                     SolveResult& result) const {
  std::vector<uint8_t> row_codes(columns.size());
  const int64_t row_bytes = ByteSize(type_.dtype, result.columns);
  for (int64_t r = 0; r < rows.count; ++r) {
    for (size_t p = 0; p < columns.size(); ++p) row_codes[columns[p]] = codes[p * kTileRows + r];
    std::byte* out = result.blocks.data() + (rows.begin + r) * row_bytes;
    for (int64_t b = 0; b < blocks_; ++b) {
      EncodeGgufBlock(type_, grids_[b * kTileRows + r], row_codes.data() + b * type_.columns,
                      out + b * (row_bytes / blocks_));
    }
    ToFloat(type_.dtype, out, result.columns, result.dequantized.data() + (rows.begin + r) * result.columns);
  }
}

void GgufTile::Load(TileRows rows, std::span<const int32_t> columns, const SolveResult& result,
                    uint8_t* codes) {
  std::vector<uint8_t> row_codes(columns.size());
  const int64_t row_bytes = ByteSize(type_.dtype, result.columns);
  for (int64_t r = 0; r < rows.count; ++r) {
    const std::byte* in = result.blocks.data() + (rows.begin + r) * row_bytes;
    for (int64_t b = 0; b < blocks_; ++b) {
      grid(b, r) =
          DecodeGgufBlock(type_, in + b * (row_bytes / blocks_), row_codes.data() + b * type_.columns);
      Show(b, r);
    }
    for (size_t p = 0; p < columns.size(); ++p) codes[p * kTileRows + r] = row_codes[columns[p]];
  }
}

}  // namespace gptq
