#if defined(__x86_64__)

#include "quant/tile_kernels.h"

namespace gptq {
namespace {

constexpr int kLanes = 16;

#include "quant/tile_kernels_generic.h"

constexpr TileKernels kKernels = MakeKernels("avx512");

}  // namespace

extern const TileKernels* const kTileKernels_avx512;
const TileKernels* const kTileKernels_avx512 = &kKernels;

}  // namespace gptq

#endif  // __x86_64__
