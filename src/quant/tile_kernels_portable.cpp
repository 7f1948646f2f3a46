#include "quant/tile_kernels.h"

namespace gptq {
namespace {

constexpr int kLanes = 4;

#include "quant/tile_kernels_generic.h"

constexpr TileKernels kKernels = MakeKernels("portable");

}  // namespace

extern const TileKernels* const kTileKernels_portable;
const TileKernels* const kTileKernels_portable = &kKernels;

}  // namespace gptq
