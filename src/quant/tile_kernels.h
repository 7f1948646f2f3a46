// The inner loops of the solver on tiles (see grid.h): kTileRows rows side by side, column after column. One
// table per instruction set; the arithmetic is written once (tile_kernels_generic.h) and agrees between
// instruction sets to round-off.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "quant/grid.h"

namespace gptq {

// What the values of a grid are.
enum class GridKind {
  kUniform,  // scale * (code - zero)
  kTernary,  // zero, 0, scale
  kLine,     // scale * (code - middle) + zero, any number
};

// Scale and zero of each row, of one group or of all.
struct RowGrids {
  const float* scales;  // [groups][kTileRows]
  const float* zeros;
  const int32_t* groups;  // of each column; null: all are of group 0
  float maximum_code;
  GridKind kind = GridKind::kUniform;
  float middle = 0;  // of kLine
};

struct TileKernels {
  std::string_view isa;  // as in compute/cpu/vector_kernels.h
  // The plain loop of GPTQ over `count` columns: w_j -= sum over i < j of e_i U_ij; q_j = round(w_j);
  // e_j = (w_j - q_j) / U_jj. `triangle` [count, count] holds U_ij at [j * count + i]. `values` (in: w, out:
  // q), `codes`, `errors` [count][kTileRows]. Adds sum e² to `loss` [kTileRows].
  void (*solve)(int64_t count, const float* triangle, const RowGrids& grids, float* values, uint8_t* codes,
                float* errors, float* loss);
  // Its sum of e² alone: nothing but `errors` (working memory) and `loss` (overwritten) is changed.
  void (*try_grids)(int64_t count, const float* triangle, const RowGrids& grids, const float* values,
                    float* errors, float* loss);
  // The same without the updates: sum of ((w_j - q_j) / U_jj)².
  void (*try_grids_apart)(int64_t count, const float* pivots, const RowGrids& grids, const float* values,
                          float* loss);
  // Coordinate descent over the codes of `count` columns. `gradients` [count][kTileRows] is (W - Q) H at
  // these columns, `hessian` [count, count] their block of H. q_j = round(q_j + g_j / H_jj), where g_j knows
  // the changes of the columns before; `changes` [count][kTileRows] receives q_new - q_old.
  void (*descend)(int64_t count, const float* hessian, const RowGrids& grids, const float* gradients,
                  float* values, uint8_t* codes, float* changes);
  // out[r] = d H dᵀ of each row's d, `directions` [count][kTileRows].
  void (*quadratic)(int64_t count, const float* hessian, const float* directions, float* out);
};

std::span<const TileKernels* const> AllTileKernels();
// The table of the instruction set that compute's kernels use (GPTQ_ISA, else the best).
const TileKernels& SelectTileKernels();

}  // namespace gptq
