// GGUF's own grids in the solver: the blocks that a tile's rows become (see tile.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/gguf_block.h"
#include "quant/options.h"
#include "quant/tile.h"
#include "quant/tile_kernels.h"

namespace gptq {

// Bits, symmetry and groups become the type's; a group is a whole block, whose grids are found together.
void SetGgufType(DType type, SolverOptions& options);
// The type of `options`, which must be one that blocks are written of; null: other grids.
const GgufBlockType* BlockTypeOf(const SolverOptions& options);

// An empty result of the right sizes. `columns` must fill blocks.
SolveResult MakeBlockResult(int64_t rows, int64_t columns, const GgufBlockType& type);

class GgufTile {
 public:
  GgufTile(const GgufBlockType& type, int64_t columns);

  int64_t blocks() const { return blocks_; }
  int64_t groups() const { return blocks_ * type_.groups(); }
  // What the kernels want to know of the grids from group `group` on.
  RowGrids Grids(int64_t group) const;

  // The grids of a block from the weights of its columns: `values` [type.columns][kTileRows] of `columns`, in
  // any order. Errors count by 1 / pivot², `pivots` [type.columns] being those of U; null: all alike.
  void Fit(std::span<const int32_t> columns, const float* values, const float* pivots, int64_t rows);

  GgufBlockGrid& grid(int64_t block, int64_t row) { return grids_[block * kTileRows + row]; }
  // To be called when a row's grid of a block has changed.
  void Show(int64_t block, int64_t row);

  // `codes` [columns][kTileRows] of `columns`, in any order, to and from rows of blocks.
  void Store(TileRows rows, std::span<const int32_t> columns, const uint8_t* codes,
             SolveResult& result) const;
  void Load(TileRows rows, std::span<const int32_t> columns, const SolveResult& result, uint8_t* codes);

 private:
  const GgufBlockType& type_;
  int64_t blocks_;
  std::vector<GgufBlockGrid> grids_;    // [blocks][kTileRows]
  std::vector<float> scales_, minima_;  // [groups][kTileRows], of these grids
};

}  // namespace gptq
