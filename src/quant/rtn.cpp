#include "quant/rtn.h"

#include <algorithm>

#include "base/convert.h"
#include "quant/gguf_rounding.h"
#include "quant/gguf_tile.h"
#include "quant/order.h"
#include "quant/tile.h"

namespace gptq {
namespace {

SolveResult RoundToBlocks(const ConstMatrixView& weight, const GgufBlockType& type, ThreadPool& pool) {
  SolveResult result = MakeBlockResult(weight.rows, weight.columns, type);
  const int64_t row_bytes = ByteSize(type.dtype, weight.columns);
  pool.ParallelFor(weight.rows, [&](int64_t r) {
    std::byte* blocks = result.blocks.data() + r * row_bytes;
    RoundToGguf(type.dtype, weight.row(r), weight.columns, blocks);
    ToFloat(type.dtype, blocks, weight.columns, result.dequantized.data() + r * weight.columns);
  });
  return result;
}

}  // namespace

SolveResult RoundToNearest(const ConstMatrixView& weight, const SolverOptions& options, ThreadPool& pool) {
  Validate(options);
  if (const GgufBlockType* type = BlockTypeOf(options)) return RoundToBlocks(weight, *type, pool);
  const ColumnOrder order = NaturalOrder(options, weight.columns);
  const int64_t size = options.GroupColumns(weight.columns);
  SolveResult result = MakeResult(weight.rows, weight.columns, order.groups, order.group_index);
  const GridFinder finder(options);
  pool.ParallelFor(TileCount(weight.rows), [&](int64_t tile) {
    const TileRows rows = TileAt(tile, weight.rows);
    std::vector<float> values(static_cast<size_t>(weight.columns * kTileRows));
    std::vector<uint8_t> codes(values.size());
    TileGrids grids(order.groups);
    LoadTile(weight, rows, order.columns, {}, values.data());
    for (int64_t g = 0; g < order.groups; ++g) {
      const int64_t begin = g * size, end = std::min(begin + size, weight.columns);
      finder.Find(values.data() + begin * kTileRows, end - begin, rows.count, grids.scale(g), grids.zero(g));
      for (int64_t c = begin; c < end; ++c) {
        float* column = values.data() + c * kTileRows;
        QuantizeColumn(options, rows.count, column, grids.scale(g), grids.zero(g),
                       codes.data() + c * kTileRows, column);
      }
    }
    StoreTile(rows, order.columns, values.data(), codes.data(), grids, result);
  });
  CountSaturatedScales(options, result);
  return result;
}

}  // namespace gptq
