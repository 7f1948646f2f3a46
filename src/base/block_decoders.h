// One block of each GGUF type as float32, as ggml-common.h lays it out and ggml-quants.c defines its value.
// Internal to convert.cpp. Each decoder is forced inline so that it is compiled for the instruction set of
// the loop around it.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/dtype.h"
#include "base/half.h"

namespace gptq::block_decoders {

#define GPTQ_INLINE [[gnu::always_inline]] static inline

GPTQ_INLINE float LoadHalf(const uint8_t* source) {
  return HalfToFloat(static_cast<uint16_t>(source[0] | source[1] << 8));
}

GPTQ_INLINE uint32_t LoadWord(const uint8_t* source) {
  return static_cast<uint32_t>(source[0]) | static_cast<uint32_t>(source[1]) << 8 |
         static_cast<uint32_t>(source[2]) << 16 | static_cast<uint32_t>(source[3]) << 24;
}

// Blocks of 32: element j in the low nibble of byte j, element 16 + j in its high nibble; the fifth bits in a
// word.

struct Q4_0 {
  static constexpr DType kDType = DType::kQ4_0;
  GPTQ_INLINE void Decode(const uint8_t* block, float* values) {
    const float scale = LoadHalf(block);
    const uint8_t* nibbles = block + 2;
#pragma GCC unroll 1
    for (int j = 0; j < 16; ++j) {
      values[j] = static_cast<float>((nibbles[j] & 0xf) - 8) * scale;
      values[j + 16] = static_cast<float>((nibbles[j] >> 4) - 8) * scale;
    }
  }
};

struct Q4_1 {
  static constexpr DType kDType = DType::kQ4_1;
  GPTQ_INLINE void Decode(const uint8_t* block, float* values) {
    const float scale = LoadHalf(block);
    const float minimum = LoadHalf(block + 2);
    const uint8_t* nibbles = block + 4;
#pragma GCC unroll 1
    for (int j = 0; j < 16; ++j) {
      values[j] = static_cast<float>(nibbles[j] & 0xf) * scale + minimum;
      values[j + 16] = static_cast<float>(nibbles[j] >> 4) * scale + minimum;
    }
  }
};

struct Q5_0 {
  static constexpr DType kDType = DType::kQ5_0;
  GPTQ_INLINE void Decode(const uint8_t* block, float* values) {
    const float scale = LoadHalf(block);
    const uint32_t high = LoadWord(block + 2);
    const uint8_t* nibbles = block + 6;
#pragma GCC unroll 1
    for (int j = 0; j < 16; ++j) {
      const int low_code = (nibbles[j] & 0xf) | static_cast<int>((high >> j & 1u) << 4);
      const int high_code = (nibbles[j] >> 4) | static_cast<int>((high >> (j + 16) & 1u) << 4);
      values[j] = static_cast<float>(low_code - 16) * scale;
      values[j + 16] = static_cast<float>(high_code - 16) * scale;
    }
  }
};

struct Q5_1 {
  static constexpr DType kDType = DType::kQ5_1;
  GPTQ_INLINE void Decode(const uint8_t* block, float* values) {
    const float scale = LoadHalf(block);
    const float minimum = LoadHalf(block + 2);
    const uint32_t high = LoadWord(block + 4);
    const uint8_t* nibbles = block + 8;
#pragma GCC unroll 1
    for (int j = 0; j < 16; ++j) {
      const int low_code = (nibbles[j] & 0xf) | static_cast<int>((high >> j & 1u) << 4);
      const int high_code = (nibbles[j] >> 4) | static_cast<int>((high >> (j + 16) & 1u) << 4);
      values[j] = static_cast<float>(low_code) * scale + minimum;
      values[j + 16] = static_cast<float>(high_code) * scale + minimum;
    }
  }
};

struct Q8_0 {
  static constexpr DType kDType = DType::kQ8_0;
  GPTQ_INLINE void Decode(const uint8_t* block, float* values) {
    const float scale = LoadHalf(block);
    const uint8_t* codes = block + 2;
    for (int j = 0; j < 32; ++j) values[j] = static_cast<float>(static_cast<int8_t>(codes[j])) * scale;
  }
};

// Super-blocks of 256: groups of 16 or 32 whose scales (and minima) are small integers times one or two
// halves.

struct Q2_K {
  static constexpr DType kDType = DType::kQ2_K;
  GPTQ_INLINE void Decode(const uint8_t* block, float* values) {
    const uint8_t* group = block;  // scale in the low, minimum in the high nibble
    const uint8_t* codes = block + 16;
    const float scale = LoadHalf(block + 80);
    const float minimum = LoadHalf(block + 82);
    for (int half = 0; half < 2; ++half, codes += 32) {
      for (int shift = 0; shift < 8; shift += 2) {
        for (int part = 0; part < 32; part += 16, ++group, values += 16) {
          const float group_scale = scale * static_cast<float>(*group & 0xf);
          const float group_minimum = minimum * static_cast<float>(*group >> 4);
#pragma GCC unroll 1
          for (int l = 0; l < 16; ++l) {
            values[l] = group_scale * static_cast<float>(codes[part + l] >> shift & 3) - group_minimum;
          }
        }
      }
    }
  }
};

struct Q3_K {
  static constexpr DType kDType = DType::kQ3_K;
  // Scale g: low four bits in a nibble of bytes 0..7, high two bits in a pair of bits of bytes 8..11.
  GPTQ_INLINE int GroupScale(const uint8_t* packed, int g) {
    const int low = packed[g % 8] >> (g / 8 * 4) & 0xf;
    const int high = packed[8 + g % 4] >> (g / 4 * 2) & 3;
    return (low | high << 4) - 32;
  }
  GPTQ_INLINE void Decode(const uint8_t* block, float* values) {
    const uint8_t* high_bits = block;  // bit i of byte l: third bit of element 32 i + l
    const uint8_t* codes = block + 32;
    const uint8_t* scales = block + 96;
    const float scale = LoadHalf(block + 108);
    for (int g = 0; g < 16; ++g, values += 16) {
      const float group_scale = scale * static_cast<float>(GroupScale(scales, g));
      const uint8_t* low = codes + g / 8 * 32 + g % 2 * 16;
      const uint8_t* high = high_bits + g % 2 * 16;
      const int shift = g / 2 % 4 * 2;
      const int bit = g / 2;
#pragma GCC unroll 1
      for (int l = 0; l < 16; ++l) {
        const int code = (low[l] >> shift & 3) + (high[l] >> bit & 1) * 4 - 4;
        values[l] = group_scale * static_cast<float>(code);
      }
    }
  }
};

// Eight 6-bit scales and eight 6-bit minima in 12 bytes (Q4_K and Q5_K).
GPTQ_INLINE void SixBitScales(const uint8_t* packed, int group, int* scale, int* minimum) {
  if (group < 4) {
    *scale = packed[group] & 63;
    *minimum = packed[group + 4] & 63;
  } else {
    *scale = (packed[group + 4] & 0xf) | packed[group - 4] >> 6 << 4;
    *minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
  }
}

struct Q4_K {
  static constexpr DType kDType = DType::kQ4_K;
  GPTQ_INLINE void Decode(const uint8_t* block, float* values) {
    const float scale = LoadHalf(block);
    const float minimum = LoadHalf(block + 2);
    for (int g = 0; g < 8; ++g, values += 32) {
      int small_scale = 0, small_minimum = 0;
      SixBitScales(block + 4, g, &small_scale, &small_minimum);
      const float group_scale = scale * static_cast<float>(small_scale);
      const float group_minimum = minimum * static_cast<float>(small_minimum);
      const uint8_t* nibbles = block + 16 + g / 2 * 32;
      const int shift = g % 2 * 4;
      for (int l = 0; l < 32; ++l) {
        values[l] = group_scale * static_cast<float>(nibbles[l] >> shift & 0xf) - group_minimum;
      }
    }
  }
};

struct Q5_K {
  static constexpr DType kDType = DType::kQ5_K;
  GPTQ_INLINE void Decode(const uint8_t* block, float* values) {
    const float scale = LoadHalf(block);
    const float minimum = LoadHalf(block + 2);
    const uint8_t* high_bits = block + 16;  // bit g of byte l: fifth bit of element 32 g + l
    for (int g = 0; g < 8; ++g, values += 32) {
      int small_scale = 0, small_minimum = 0;
      SixBitScales(block + 4, g, &small_scale, &small_minimum);
      const float group_scale = scale * static_cast<float>(small_scale);
      const float group_minimum = minimum * static_cast<float>(small_minimum);
      const uint8_t* nibbles = block + 48 + g / 2 * 32;
      const int shift = g % 2 * 4;
      for (int l = 0; l < 32; ++l) {
        const int code = (nibbles[l] >> shift & 0xf) | (high_bits[l] >> g & 1) << 4;
        values[l] = group_scale * static_cast<float>(code) - group_minimum;
      }
    }
  }
};

struct Q6_K {
  static constexpr DType kDType = DType::kQ6_K;
  GPTQ_INLINE void Decode(const uint8_t* block, float* values) {
    const float scale = LoadHalf(block + 208);
    for (int g = 0; g < 16;
         ++g, values += 16) {  // 128 elements: four rows of 32, low nibbles of two, then high
      const int half = g / 8, row = g / 2 % 4, part = g % 2 * 16;
      const uint8_t* low = block + half * 64 + row % 2 * 32 + part;
      const uint8_t* high = block + 128 + half * 32 + part;
      const float group_scale = scale * static_cast<float>(static_cast<int8_t>(block[192 + g]));
      const int low_shift = row / 2 * 4, high_shift = row * 2;
#pragma GCC unroll 1
      for (int l = 0; l < 16; ++l) {
        const int code = (low[l] >> low_shift & 0xf) | (high[l] >> high_shift & 3) << 4;
        values[l] = group_scale * static_cast<float>(code - 32);
      }
    }
  }
};

#undef GPTQ_INLINE

}  // namespace gptq::block_decoders
