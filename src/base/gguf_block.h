// GGUF's block types (ggml-common.h) taken apart: the grid of each group of a block, and its codes. The value
// of code q in group g is scale(g) * (q - 2^(bits-1)), or scale(g) * q + minimum(g) in types with minima,
// exactly what ToFloat gives for the encoded block.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/dtype.h"

namespace gptq {

struct GgufBlockType {
  DType dtype;
  int64_t columns;        // of a block: 32, or 256 for super-blocks
  int64_t group_columns;  // that share a scale
  int bits;               // of a code
  bool minima;            // groups have a minimum; else their grids are symmetric
  // Scales of groups are integers from `least_scale` to `greatest_scale` times the block's (super-blocks
  // only); minima are 0 to greatest_scale times the block's, and below 0.
  int least_scale, greatest_scale;

  bool super() const { return greatest_scale > 0; }
  int64_t groups() const { return columns / group_columns; }
  int maximum_code() const { return (1 << bits) - 1; }
  int middle() const { return minima ? 0 : 1 << (bits - 1); }
};

inline constexpr int64_t kMostBlockColumns = 256;
inline constexpr int64_t kMostBlockGroups = 16;

// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K; null for other types.
const GgufBlockType* FindGgufBlockType(DType dtype);
// "q4_0", "q4_k" ... as on the command line.
std::optional<DType> GgufTypeFromName(std::string_view name);

// The type for rows of so many columns: `wanted`, or what llama.cpp takes where they do not fill its blocks
// (Q4_0 where that is a type that is not written here), or F16.
DType FittingGgufType(DType wanted, int64_t columns);

// The grids of one block. In types without super-blocks there is one group, of the block's own scale and
// minimum.
struct GgufBlockGrid {
  float scale = 0, minimum = 0;  // exact in float16; a super-block's minimum is >= 0 and counts downwards
  std::array<int16_t, kMostBlockGroups> scales{};
  std::array<int16_t, kMostBlockGroups> minima{};

  float GroupScale(const GgufBlockType& type, int64_t group) const {
    return type.super() ? scale * static_cast<float>(scales[group]) : scale;
  }
  // What is added to scale * code; 0 in types without minima.
  float GroupMinimum(const GgufBlockType& type, int64_t group) const {
    return !type.minima ? 0.0f : type.super() ? -(minimum * static_cast<float>(minima[group])) : minimum;
  }
};

// `codes` [type.columns]; `block`: the type's bytes.
void EncodeGgufBlock(const GgufBlockType& type, const GgufBlockGrid& grid, const uint8_t* codes,
                     std::byte* block);
GgufBlockGrid DecodeGgufBlock(const GgufBlockType& type, const std::byte* block, uint8_t* codes);

}  // namespace gptq
