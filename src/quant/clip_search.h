// Clip::kHessian: of ranges shrunk step by step, each group takes the one whose grid gives the least error in
// the column loop itself, so that weights which later columns repair well do not widen the grid.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/grid.h"
#include "quant/tile_kernels.h"

namespace gptq {

class ClipSearch {
 public:
  // Groups of more columns are searched without the updates inside them: the true search costs as much as
  // solving (20 / 2) * group columns more columns.
  static constexpr int64_t kLargestGroup = 256;

  ClipSearch(const SolverOptions& options, const TileKernels& kernels)
      : options_(options), finder_(options), kernels_(kernels) {}

  // Grids for `rows` rows of a group's columns, `values` [columns][kTileRows]. `triangle`: see
  // TileKernels::solve; null: `pivots` [columns] alone are used. `errors` [columns][kTileRows]: working
  // memory.
  void Find(const float* values, int64_t columns, int64_t rows, const float* triangle, const float* pivots,
            float* errors, float* scales, float* zeros) const;

 private:
  SolverOptions options_;
  GridFinder finder_;
  const TileKernels& kernels_;
};

}  // namespace gptq
