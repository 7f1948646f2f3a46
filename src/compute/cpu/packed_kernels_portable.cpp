#include <array>
#include <type_traits>

#include "base/half.h"
#include "compute/cpu/packed_kernels.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace gptq {
namespace {

constexpr int kLanes = 4;
typedef int32_t Ints __attribute__((vector_size(kLanes * sizeof(int32_t)), aligned(4), may_alias));

inline Ints MultiplyPairs(Ints a, Ints b) {
#if defined(__SSE2__)  // of every x86-64
  return (Ints)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
  return ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

inline Ints MultiplyBytes(Ints a, Ints b) {
  typedef int16_t Shorts __attribute__((vector_size(sizeof(Ints))));
  const Shorts even = ((Shorts)b << 8) >> 8, odd = (Shorts)b >> 8;
  return MultiplyPairs(a & 0x00ff00ff, (Ints)even) + MultiplyPairs((a >> 8) & 0x00ff00ff, (Ints)odd);
}

inline auto LoadHalves(const uint16_t* p) {
  typedef float Result __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
  return Result{HalfToFloat(p[0]), HalfToFloat(p[1]), HalfToFloat(p[2]), HalfToFloat(p[3])};
}

inline Ints LoadBytes(const uint8_t* p) { return Ints{p[0], p[1], p[2], p[3]}; }
inline Ints LoadBytes(const int8_t* p) { return Ints{p[0], p[1], p[2], p[3]}; }

#include "compute/cpu/packed_pairs_generic.h"

bool Supported() { return true; }

constexpr PackedKernels kKernels = {"portable", Supported, INT64_MAX,  TakeOutliers,
                                    PackInputs, Multiply,  AddOutliers};

}  // namespace

extern const PackedKernels* const kPackedKernels_portable;
const PackedKernels* const kPackedKernels_portable = &kKernels;

}  // namespace gptq
