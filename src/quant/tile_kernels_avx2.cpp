#if defined(__x86_64__)

#include "quant/tile_kernels.h"

namespace gptq {
namespace {

constexpr int kLanes = 8;

#include "quant/tile_kernels_generic.h"

constexpr TileKernels kKernels = MakeKernels("avx2");

}  // namespace

extern const TileKernels* const kTileKernels_avx2;
const TileKernels* const kTileKernels_avx2 = &kKernels;

}  // namespace gptq

#endif  // __x86_64__
