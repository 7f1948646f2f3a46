// How a quantized matrix lies in memory for the kernels of compute/cpu/packed_kernels.h.
//
// A tile is 16 outputs, side by side in the 32-bit lanes of a 64-byte line: no sum over lanes is ever needed.
// A unit is 32 inputs of a tile, and b lines at b bits. It unpacks into 8 vectors of 16 x 4 codes, a code in
// each byte, by shifts and masks that never cross a byte:
// - 8, 4 and 2 bits: a line holds 1, 2 or 4 vectors, the later ones in the higher bits. A lane then is the
// plain
//   little-endian sequence of consecutive codes, as in the GPTQ format.
// - 3 bits: three lines hold 2 vectors each in the half bytes, as with 4 bits, and in the bits that are left
// over bit 0,
//   1 and 2 of the last two vectors.
// - 5, 6 and 7 bits: the lines of the low 4 bits, then those of the next 2 or 1, then of the last; vector j
// of a plane
//   of w bits is its line j * w / 8, shifted right by j * w % 8.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace gptq {

inline constexpr int64_t kTileOutputs = 16;
inline constexpr int64_t kUnitColumns = 32;
inline constexpr int64_t kLineBytes = 64;
inline constexpr int64_t kUnitVectors = 8;
inline constexpr int64_t kBlockUnits = 4;  // at most: sums of a block fit 32 bits

// Units that share one scale of the weights and one of the inputs.
struct ColumnBlock {
  int32_t first_unit = 0;
  int32_t units = 0;
  int32_t group = 0;

  bool operator==(const ColumnBlock&) const = default;
};

// Widths of the planes of `bits`, widest first, then zeros. Not of 3 bits.
constexpr std::array<int, 3> PlanesOf(int bits) {
  std::array<int, 3> planes{};
  int count = 0;
  for (const int width : {8, 4, 2, 1}) {
    if (bits >= width) planes[static_cast<size_t>(count++)] = width, bits -= width;
  }
  return planes;
}

// The input within its unit that byte `b` of each lane of code vector `j` belongs to.
constexpr int64_t UnitColumn(int bits, int64_t j, int64_t b) {
  const int64_t width = bits == 3 ? 4 : PlanesOf(bits)[0], together = 8 / width;  // code vectors in a line
  return j / together * (32 / width) + j % together + b * together;
}

}  // namespace gptq
