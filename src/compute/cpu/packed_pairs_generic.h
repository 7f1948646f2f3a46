// packed_kernels_generic.h, and what it needs on processors that multiply pairs of 16-bit integers:
// MultiplyPairs(a, b) = the sum of two products in each 32-bit lane; MultiplyBytes(a, b) = the sum of four
// products of unsigned and signed bytes in each lane, the former below 128. Inputs of two planes lie as
// 16-bit pairs (0, 2) and (1, 3) of each four, those of one plane as four bytes.

typedef int16_t Shorts __attribute__((vector_size(sizeof(Ints))));

inline Ints SplatWord(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word - Ints{};
}

// Bytes 0 and 2 of each lane, 1 and 3, as 16-bit pairs.
inline Ints EvenBytes(Ints bytes) { return bytes & 0x00ff00ff; }
inline Ints OddBytes(Ints bytes) { return (bytes >> 8) & 0x00ff00ff; }

template <int kPlanes>
struct Factors {
  explicit inline Factors(const std::byte* inputs) : even(SplatWord(inputs)), odd(SplatWord(inputs + 4)) {}
  Ints even, odd;
};

template <>
struct Factors<1> {
  explicit inline Factors(const std::byte* inputs) : bytes(SplatWord(inputs)) {}
  // With their signs.
  inline Ints Even() const { return (Ints)(((Shorts)bytes << 8) >> 8); }
  inline Ints Odd() const { return (Ints)((Shorts)bytes >> 8); }
  Ints bytes;
};

template <int kPlanes>
struct Sums {
  template <int kBits>
  inline void Add(Ints codes, const Factors<kPlanes>& factors) {
    if constexpr (kPlanes == 2) {
      sum += MultiplyPairs(EvenBytes(codes), factors.even);
      sum += MultiplyPairs(OddBytes(codes), factors.odd);
    } else if constexpr (kBits < 8) {
      sum += MultiplyBytes(codes, factors.bytes);
    } else {
      sum += MultiplyPairs(EvenBytes(codes), factors.Even());
      sum += MultiplyPairs(OddBytes(codes), factors.Odd());
    }
  }
  inline void Start(Ints value) { sum = value; }
  inline Ints Total() const { return sum; }
  Ints sum;
};

// MultiplyBytes takes no code times 2^OddShift.
template <int kPlanes>
constexpr bool kOddInPlace = kLanes == 16 && kPlanes == 2;

template <int kPlanes>
struct UnitPacker {
  explicit UnitPacker(int bits) {
    for (int64_t j = 0; j < kUnitVectors; ++j) {
      constexpr int kPairs[] = {0, 2, 1, 3};
      for (int i = 0; i < 4; ++i)
        columns[j * 4 + i] = static_cast<uint8_t>(UnitColumn(bits, j, kPlanes == 2 ? kPairs[i] : i));
    }
  }
  inline void Pack(const int32_t* values, std::byte* out) const {
    std::conditional_t<kPlanes == 2, int16_t, int8_t> packed[kUnitColumns];
    for (int64_t i = 0; i < kUnitColumns; ++i)
      packed[i] = static_cast<std::remove_extent_t<decltype(packed)>>(values[columns[i]]);
    __builtin_memcpy(out, packed, sizeof(packed));
  }
  uint8_t columns[kUnitColumns];
};

#include "compute/cpu/packed_kernels_generic.h"
