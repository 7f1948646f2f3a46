#if defined(__x86_64__)

#include <immintrin.h>

#include <array>

#include "compute/cpu/packed_kernels.h"

namespace gptq {
namespace {

#include "compute/cpu/avx512_vectors.h"

inline Ints SplatWord(const std::byte* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return (Ints)_mm512_set1_epi32(word);
}

inline Ints MultiplyBytes(Ints sums, Ints codes, Ints inputs) {
  return (Ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)codes, (__m512i)inputs);
}

// An input of two planes is 256 times a signed byte plus a signed byte; products of unsigned codes with
// either are exact.
template <int kPlanes>
struct Factors {
  explicit inline Factors(const std::byte* inputs) : high(SplatWord(inputs)), low(SplatWord(inputs + 4)) {}
  Ints high, low;
};

template <>
struct Factors<1> {
  explicit inline Factors(const std::byte* inputs) : low(SplatWord(inputs)) {}
  Ints low;
};

template <int kPlanes>
struct Sums {
  template <int kBits>
  inline void Add(Ints codes, const Factors<2>& factors) {
    high = MultiplyBytes(high, codes, factors.high);
    low = MultiplyBytes(low, codes, factors.low);
  }
  inline void Start(Ints value) { low = value; }
  inline Ints Total() const { return (high << 8) + low; }
  Ints high, low;
};

template <>
struct Sums<1> {
  template <int kBits>
  inline void Add(Ints codes, const Factors<1>& factors) {
    low = MultiplyBytes(low, codes, factors.low);
  }
  inline void Start(Ints value) { low = value; }
  inline Ints Total() const { return low; }
  Ints low;
};

// A code times 2^OddShift is still an unsigned byte.
template <int kPlanes>
constexpr bool kOddInPlace = true;

template <int kPlanes>
struct UnitPacker {
  explicit UnitPacker(int bits) {
    uint8_t places[64] = {};
    for (int64_t j = 0; j < kUnitVectors; ++j) {
      for (int64_t b = 0; b < 4; ++b) {
        for (int64_t plane = 0; plane < kPlanes; ++plane)
          places[(j * kPlanes + plane) * 4 + b] = static_cast<uint8_t>(plane * 32 + UnitColumn(bits, j, b));
      }
    }
    order = _mm512_loadu_si512(places);
  }
  inline void Pack(const int32_t* values, std::byte* out) const {
    const Ints a = *reinterpret_cast<const Ints*>(values), b = *reinterpret_cast<const Ints*>(values + 16);
    alignas(64) __m128i bytes[4] = {};
    if constexpr (kPlanes == 2) {
      bytes[0] = Narrow((a + 128) >> 8), bytes[1] = Narrow((b + 128) >> 8);
      bytes[2] = Narrow(a), bytes[3] = Narrow(b);
    } else {
      bytes[0] = Narrow(a), bytes[1] = Narrow(b);
    }
    const __m512i ordered = _mm512_maskz_permutexvar_epi8(~__mmask64{0}, order, _mm512_load_si512(bytes));
    _mm512_mask_storeu_epi64(out, kPlanes == 2 ? 0xff : 0x0f, ordered);
  }
  static inline __m128i Narrow(Ints v) { return _mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)v); }
  __m512i order;
};

#include "compute/cpu/packed_kernels_generic.h"

bool Supported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx2") &&
         __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

constexpr PackedKernels kKernels = {"avx512vnni", Supported, INT64_MAX,  TakeOutliers,
                                    PackInputs,   Multiply,  AddOutliers};

}  // namespace

extern const PackedKernels* const kPackedKernels_avx512vnni;
const PackedKernels* const kPackedKernels_avx512vnni = &kKernels;

}  // namespace gptq

#endif  // __x86_64__
