#if defined(__x86_64__)

#include <immintrin.h>

#include "compute/cpu/vector_kernels.h"

namespace gptq {
namespace {

constexpr int kLanes = 8;

inline __m256 LoadHalves(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline __m256 LoadBytes(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

#include "compute/cpu/vector_kernels_generic.h"

bool Supported() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

constexpr VectorKernels kKernels = MakeKernels("avx2", Supported);

}  // namespace

extern const VectorKernels* const kVectorKernels_avx2;
const VectorKernels* const kVectorKernels_avx2 = &kKernels;

}  // namespace gptq

#endif  // __x86_64__
