#if defined(__x86_64__)

#include <immintrin.h>

#include <array>
#include <type_traits>

#include "compute/cpu/packed_kernels.h"

namespace gptq {
namespace {

constexpr int kLanes = 8;
typedef int32_t Ints __attribute__((vector_size(kLanes * sizeof(int32_t)), aligned(4), may_alias));

inline Ints MultiplyPairs(Ints a, Ints b) { return (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b); }

inline Ints MultiplyBytes(Ints a, Ints b) {
  return MultiplyPairs((Ints)_mm256_maddubs_epi16((__m256i)a, (__m256i)b), (Ints)_mm256_set1_epi16(1));
}

inline __m256 LoadHalves(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline Ints LoadBytes(const uint8_t* p) {
  return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline Ints LoadBytes(const int8_t* p) {
  return (Ints)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

#include "compute/cpu/packed_pairs_generic.h"

bool Supported() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

constexpr PackedKernels kKernels = {"avx2", Supported, 64, TakeOutliers, PackInputs, Multiply, AddOutliers};

}  // namespace

extern const PackedKernels* const kPackedKernels_avx2;
const PackedKernels* const kPackedKernels_avx2 = &kKernels;

}  // namespace gptq

#endif  // __x86_64__
