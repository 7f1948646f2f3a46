#if defined(__x86_64__)

#include <immintrin.h>

#include <array>
#include <type_traits>

#include "compute/cpu/packed_kernels.h"

namespace gptq {
namespace {

#include "compute/cpu/avx512_vectors.h"

inline Ints MultiplyPairs(Ints a, Ints b) { return (Ints)_mm512_madd_epi16((__m512i)a, (__m512i)b); }

inline Ints MultiplyBytes(Ints a, Ints b) {
  return MultiplyPairs((Ints)_mm512_maddubs_epi16((__m512i)a, (__m512i)b), (Ints)_mm512_set1_epi16(1));
}

#include "compute/cpu/packed_pairs_generic.h"

bool Supported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx2") &&
         __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

constexpr PackedKernels kKernels = {"avx512", Supported, 64, TakeOutliers, PackInputs, Multiply, AddOutliers};

}  // namespace

extern const PackedKernels* const kPackedKernels_avx512;
const PackedKernels* const kPackedKernels_avx512 = &kKernels;

}  // namespace gptq

#endif  // __x86_64__
