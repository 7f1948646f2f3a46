// packed_kernels_generic.h, and what it needs on processors that multiply pairs of 16-bit integers:
// MultiplyPairs(a, b) = the sum of two products in each 32-bit lane. Inputs lie as pairs (0, 2) and (1, 3) of
// each four.

inline int32_t LoadWord(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}

struct Factors {
  explicit inline Factors(const std::byte* inputs)
      : even(LoadWord(inputs) - Ints{}), odd(LoadWord(inputs + 4) - Ints{}) {}
  Ints even, odd;
};

struct Sums {
  inline void Add(Ints codes, const Factors& factors) {
    sum += MultiplyPairs(codes & 0x00ff00ff, factors.even);
    sum += MultiplyPairs((codes >> 8) & 0x00ff00ff, factors.odd);
  }
  inline Ints Total() const { return sum; }
  Ints sum;
};

struct UnitPacker {
  explicit UnitPacker(int bits) {
    for (int64_t j = 0; j < kUnitVectors; ++j) {
      constexpr int kOrder[] = {0, 2, 1, 3};
      for (int i = 0; i < 4; ++i) columns[j * 4 + i] = static_cast<uint8_t>(UnitColumn(bits, j, kOrder[i]));
    }
  }
  inline void Pack(const int32_t* values, std::byte* out) const {
    int16_t packed[kUnitColumns];
    for (int64_t i = 0; i < kUnitColumns; ++i) packed[i] = static_cast<int16_t>(values[columns[i]]);
    __builtin_memcpy(out, packed, sizeof(packed));
  }
  uint8_t columns[kUnitColumns];
};

#include "compute/cpu/packed_kernels_generic.h"
