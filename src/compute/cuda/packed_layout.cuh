// How kernels read quantized weights (device_weight.h).
#pragma once

#include "compute/cuda/device_weight.h"
#include "compute/cuda/kernel.cuh"

namespace gptq::cuda {

// A lane's codes of one chunk.
template <int kBits>
struct ChunkWords {
  uint32_t words[2 * kBits];

  // `chunk`: the chunk's first byte.
  __device__ void Load(const std::byte* chunk, int lane) {
    constexpr auto kWidths = PlaneWidths(kBits);
    int word = 0;
#pragma unroll
    for (int plane = 0; plane < 3; ++plane) {
      const int width = kWidths[plane];
      if (width >= 2) {
#pragma unroll
        for (int vector = 0; vector < width / 2; ++vector) {
          const uint4 v = LoadOnce(reinterpret_cast<const uint4*>(chunk) + vector * 32 + lane);
          words[word] = v.x, words[word + 1] = v.y, words[word + 2] = v.z, words[word + 3] = v.w;
          word += 4;
        }
      } else if (width == 1) {
        const uint2 v = LoadOnce(reinterpret_cast<const uint2*>(chunk) + lane);
        words[word] = v.x, words[word + 1] = v.y;
        word += 2;
      }
      chunk += 256 * width;
    }
  }

  // The four registers of a unit, a code in each byte; those of outputs 8 to 15, which are the odd ones,
  // times kOddFactor: so they need no shift.
  __device__ void Unpack(int unit, uint32_t (&registers)[4]) const {
    if constexpr (kBits == 4) {
#pragma unroll
      for (int r = 0; r < 4; ++r)
        registers[r] = words[2 * unit + r / 2] & (r % 2 == 0 ? 0x0f0f0f0fu : 0xf0f0f0f0u);
    } else if constexpr (kBits == 2) {
#pragma unroll
      for (int r = 0; r < 4; ++r)
        registers[r] = (r < 2 ? words[unit] : words[unit] >> 4) & (r % 2 == 0 ? 0x03030303u : 0x0c0c0c0cu);
    } else if constexpr (kBits == 3) {
      const uint32_t high = words[4 + unit / 2];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int pair = unit % 2 * 2 + r / 2, to_left = 2 - (pair % 2 + pair / 2 * 4);
        const uint32_t shifted = to_left >= 0 ? high << to_left : high >> -to_left;
        const uint32_t low = r < 2 ? words[unit] : words[unit] >> 4;
        registers[r] = r % 2 == 0 ? (low & 0x03030303u) | (shifted & 0x04040404u)
                                  : (low & 0x0c0c0c0cu) | (shifted & 0x10101010u);
      }
    } else {
      UnpackPlanes(unit, registers);
    }
  }

 private:
  __device__ void UnpackPlanes(int unit, uint32_t (&registers)[4]) const {
    constexpr auto kWidths = PlaneWidths(kBits);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      uint32_t value = 0;
      int first_word = 0, position = 0;
#pragma unroll
      for (int plane = 0; plane < 3; ++plane) {
        const int width = kWidths[plane];
        if (width == 0) continue;
        const uint32_t mask = ((1u << width) - 1) * 0x01010101u;
        const PlanePlace place = PlaceInPlane(kBits, width, unit, r);
        const uint32_t word = words[first_word + place.word];
        const int shift = place.bit - position;  // to where these bits belong
        value |= (shift >= 0 ? word >> shift : word << -shift) & (mask << position);
        first_word += 2 * width;
        position += width;
      }
      registers[r] = value;
    }
  }
};

// What codes of odd registers are multiplied by; less than 256 / 2^bits.
constexpr int OddFactor(int bits) { return bits == 4 ? 16 : bits == 2 || bits == 3 ? 4 : 1; }

__device__ inline float ScaleAt(const void* scales, bool half, int64_t index) {
  return half ? ToFloat(static_cast<const Half*>(scales)[index]) : static_cast<const float*>(scales)[index];
}

}  // namespace gptq::cuda
