#include "quant/rtn.h"

#include <algorithm>

#include "quant/order.h"
#include "quant/tile.h"

namespace gptq {

SolveResult RoundToNearest(const ConstMatrixView& weight, const SolverOptions& options, ThreadPool& pool) {
  Validate(options);
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
