#if defined(__x86_64__)

#include <immintrin.h>

#include "compute/cpu/vector_kernels.h"

namespace gptq {
namespace {

constexpr int kLanes = 16;

inline __m512 LoadHalves(const uint16_t* p) {
  return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

inline __m512 LoadBytes(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, bytes));
}

#include "compute/cpu/vector_kernels_generic.h"

bool Supported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx2") &&
         __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

constexpr VectorKernels kKernels = MakeKernels("avx512", Supported);

}  // namespace

extern const VectorKernels* const kVectorKernels_avx512;
const VectorKernels* const kVectorKernels_avx512 = &kKernels;

}  // namespace gptq

#endif  // __x86_64__
