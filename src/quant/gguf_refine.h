// refine.h on GGUF's own grids.
#pragma once

#include "quant/gguf_tile.h"
#include "quant/refine.h"

namespace gptq {

// One tile of Refine: options.refits rounds of (the float16 scale and minimum of each super-block, then the
// scale and minimum of each group and its codes), and options.sweeps rounds of codes alone. What a block
// stores is changed only where that lowers the loss, rounding included.
void RefineBlocks(const ConstMatrixView& weight, const RefineMetric& metric, const GgufBlockType& type,
                  const SolverOptions& options, TileRows rows, SolveResult& result);

}  // namespace gptq
