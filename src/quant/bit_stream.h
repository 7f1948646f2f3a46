// Codes of a few bits packed densely into 32-bit words, little-endian: code k at bit k * bits. For 2, 4 and 8
// bits this is the usual "32 / bits codes a word"; for 3 bits it equals the published 10 + 1 + 10 + 1 + 10
// layout.
#pragma once

#include <cstdint>

namespace gptq {

inline int64_t PackedWords(int64_t codes, int bits) { return (codes * bits + 31) / 32; }

// Lanes are packed side by side: word w of lane l at words[w * word_stride + l], its code k from
// get(k, l). Unused bits of the last word are 0.
template <typename Get>
void PackLanes(int64_t lanes, int64_t codes, int bits, const Get& get, int32_t* words, int64_t word_stride) {
  constexpr int64_t kLanes = 16;  // a cache line of words
  for (int64_t begin = 0; begin < lanes; begin += kLanes) {
    const int64_t count = lanes - begin < kLanes ? lanes - begin : kLanes;
    uint64_t waiting[kLanes] = {};
    int filled = 0;
    int32_t* out = words + begin;
    for (int64_t k = 0; k < codes; ++k) {
      for (int64_t l = 0; l < count; ++l) waiting[l] |= static_cast<uint64_t>(get(k, begin + l)) << filled;
      filled += bits;
      if (filled < 32 && k + 1 < codes) continue;
      for (; filled > 0 && (filled >= 32 || k + 1 == codes); filled -= 32, out += word_stride) {
        for (int64_t l = 0; l < count; ++l) {
          out[l] = static_cast<int32_t>(static_cast<uint32_t>(waiting[l]));
          waiting[l] >>= 32;
        }
      }
    }
  }
}

// The reverse: put(k, l, code) for every code.
template <typename Put>
void UnpackLanes(int64_t lanes, int64_t codes, int bits, const int32_t* words, int64_t word_stride,
                 const Put& put) {
  constexpr int64_t kLanes = 16;
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  for (int64_t begin = 0; begin < lanes; begin += kLanes) {
    const int64_t count = lanes - begin < kLanes ? lanes - begin : kLanes;
    uint64_t waiting[kLanes] = {};
    int filled = 0;
    const int32_t* in = words + begin;
    for (int64_t k = 0; k < codes; ++k) {
      if (filled < bits) {
        for (int64_t l = 0; l < count; ++l) {
          waiting[l] |= static_cast<uint64_t>(static_cast<uint32_t>(in[l])) << filled;
        }
        filled += 32;
        in += word_stride;
      }
      for (int64_t l = 0; l < count; ++l) {
        put(k, begin + l, static_cast<uint32_t>(waiting[l] & mask));
        waiting[l] >>= bits;
      }
      filled -= bits;
    }
  }
}

}  // namespace gptq
