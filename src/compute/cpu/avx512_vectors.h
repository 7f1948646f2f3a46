// What tile_codes_generic.h wants, with AVX-512. Included inside an anonymous namespace, after <immintrin.h>.

constexpr int kLanes = 16;
typedef int32_t Ints __attribute__((vector_size(kLanes * sizeof(int32_t)), aligned(4), may_alias));

inline __m512 LoadHalves(const uint16_t* p) {
  return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

inline Ints LoadBytes(const uint8_t* p) {
  return (Ints)_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Ints LoadBytes(const int8_t* p) {
  return (Ints)_mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
