#include "quant/tile_kernels.h"

#include "base/error.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {

extern const TileKernels* const kTileKernels_portable;
#if defined(__x86_64__)
extern const TileKernels* const kTileKernels_avx2;
extern const TileKernels* const kTileKernels_avx512;
#endif

std::span<const TileKernels* const> AllTileKernels() {
  static const TileKernels* const kAll[] = {
#if defined(__x86_64__)
    kTileKernels_avx512,
    kTileKernels_avx2,
#endif
    kTileKernels_portable
  };
  return kAll;
}

const TileKernels& SelectTileKernels() {
  const std::string_view isa = DefaultVectorKernels().isa;
  for (const TileKernels* kernels : AllTileKernels()) {
    if (kernels->isa == isa) return *kernels;
  }
  CHECK(false);
}

}  // namespace gptq
