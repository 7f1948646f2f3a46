// The arithmetic of packed_kernels.h. Included by one file per instruction set, inside an anonymous
// namespace, after what tile_codes_generic.h wants and these are defined: Factors, Sums, UnitPacker,
// kOddInPlace. Like vector_kernels_generic.h a text to be compiled several times.

#include "compute/cpu/tile_codes_generic.h"

// The sums that a register tile holds: kTiles x kRows, for a single row twice: even and odd code vectors go
// apart, so that more sums are under way at a time and the odd ones need no shift.
template <int kPlanes, int kRows>
struct SumTile {
  static constexpr int kSets = kRows == 1 && kOddInPlace<kPlanes> ? 2 : 1;
  Sums<kPlanes> sums[kTiles][kRows][kSets];

  template <int kBits>
  inline Ints Total(int t, int r) const {
    if constexpr (kSets == 1) return sums[t][r][0].Total();
    return sums[t][r][0].Total() + (sums[t][r][kSets - 1].Total() >> OddShift(kBits));
  }
};

// The bytes of a row's inputs that a code vector is multiplied by, and a unit.
template <int kPlanes>
constexpr int64_t kVectorBytes = kPlanes * 4;
template <int kPlanes>
constexpr int64_t kUnitBytes = kUnitVectors* kVectorBytes<kPlanes>;

template <int kBits, int kPlanes, int kRows, int j>
inline void AddVector(const uint8_t* const* lines, const std::byte* const* inputs, int64_t offset,
                      SumTile<kPlanes, kRows>& tile) {
  constexpr int kSets = SumTile<kPlanes, kRows>::kSets;
  Ints codes[kTiles];
  GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) codes[t] = Unpack<kBits, j, (kSets > 1)>(lines[t]);
  GPTQ_UNROLL for (int r = 0; r < kRows; ++r) {
    const Factors<kPlanes> factors(inputs[r] + offset + j * kVectorBytes<kPlanes>);
    GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) tile.sums[t][r][j % kSets].template Add<kBits>(codes[t],
                                                                                                factors);
  }
}

template <int kBits, int kPlanes, int kRows>
inline void AddUnit(const uint8_t* const* lines, const std::byte* const* inputs, int64_t offset,
                    SumTile<kPlanes, kRows>& tile) {
  AddVector<kBits, kPlanes, kRows, 0>(lines, inputs, offset, tile);
  AddVector<kBits, kPlanes, kRows, 1>(lines, inputs, offset, tile);
  AddVector<kBits, kPlanes, kRows, 2>(lines, inputs, offset, tile);
  AddVector<kBits, kPlanes, kRows, 3>(lines, inputs, offset, tile);
  AddVector<kBits, kPlanes, kRows, 4>(lines, inputs, offset, tile);
  AddVector<kBits, kPlanes, kRows, 5>(lines, inputs, offset, tile);
  AddVector<kBits, kPlanes, kRows, 6>(lines, inputs, offset, tile);
  AddVector<kBits, kPlanes, kRows, 7>(lines, inputs, offset, tile);
}

// Zero points of kLanes outputs, times the sum of a block of inputs.
inline Ints ZeroPart(const WeightTile& tile, int64_t index, int32_t sum) {
  if (tile.zeros == nullptr) return SplatInt(tile.zero * sum);
  return LoadBytes(tile.zeros + index) * sum;
}

// Codes are read once, from memory. The processor's own prefetching stops at each page of 4 KiB, and is too
// late where there is little to read for much to compute; where there is most to read it is better alone.
template <int kBits>
inline void PrefetchUnit(const uint8_t* unit) {
  constexpr int64_t kNear = kBits < 4 ? 1024 : 2048, kFar = 4096;
  if constexpr (kBits == 8) return;
  GPTQ_UNROLL for (int line = 0; line < kBits; ++line) {
    __builtin_prefetch(unit + line * 64 + kNear);
    if constexpr (kBits < 4) __builtin_prefetch(unit + line * 64 + kFar, 0, 2);  // into the second cache
  }
}

// Rows of inputs, one pointer each.
template <int kRows>
struct InputRows {
  InputRows(const PackedInputs& inputs, int64_t first, int64_t rows) {
    for (int r = 0; r < kRows; ++r) {  // surplus rows repeat the last one
      const int64_t row = first + (r < rows ? r : rows - 1);
      values[r] = inputs.values + row * inputs.row_bytes;
      scales[r] = inputs.scales + row * inputs.block_count;
      sums[r] = inputs.sums + row * inputs.block_count;
    }
  }
  const std::byte* values[kRows];
  const float* scales[kRows];
  const int32_t* sums[kRows];
};

// total += the block's sums of tile t, scaled. One vector of a line.
template <int kBits, int kPlanes, int kRows>
inline void FinishBlock(const WeightTile& tile, int t, int64_t index, const InputRows<kRows>& inputs,
                        int64_t block, const SumTile<kPlanes, kRows>& sums, Floats* total) {
  const Floats scale = LoadScales(tile.scales, tile.half, index);
  GPTQ_UNROLL for (int r = 0; r < kRows; ++r) {
    const Ints sum = sums.template Total<kBits>(t, r) - ZeroPart(tile, index, inputs.sums[r][block]);
    total[r] += __builtin_convertvector(sum, Floats) * (scale * inputs.scales[r][block]);
  }
  if (tile.offsets == nullptr) return;
  const Floats offset = LoadScales(tile.offsets, tile.half, index);
  GPTQ_UNROLL for (int r = 0; r < kRows; ++r) total[r] +=
      offset * (static_cast<float>(inputs.sums[r][block]) * inputs.scales[r][block]);
}

template <int kBits, int kPlanes, int kRows>
void MultiplyTiles(const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
                   float* out) {
  const InputRows<kRows> in(inputs, first_row, rows);
  Floats total[kParts][kTiles][kRows] = {};
  for (int64_t b = 0; b < inputs.block_count; ++b) {
    const ColumnBlock block = inputs.blocks[b];
    for (int part = 0; part < kParts; ++part) {
      SumTile<kPlanes, kRows> sums = {};
      for (int64_t unit = block.first_unit; unit < block.first_unit + block.units; ++unit) {
        const uint8_t* lines[kTiles];
        GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) {
          lines[t] = tiles[t].codes + unit * (kBits * 64) + part * (kLanes * 4);
          if (part == 0) PrefetchUnit<kBits>(lines[t]);
        }
        AddUnit<kBits, kPlanes, kRows>(lines, in.values, unit * kUnitBytes<kPlanes>, sums);
      }
      const int64_t index = block.group * 16 + part * kLanes;
      GPTQ_UNROLL for (int t = 0; t < kTiles; ++t)
          FinishBlock<kBits, kPlanes, kRows>(tiles[t], t, index, in, b, sums, total[part][t]);
    }
  }
  for (int r = 0; r < kRows && r < rows; ++r) {
    for (int t = 0; t < kTiles; ++t) {
      for (int part = 0; part < kParts; ++part)
        *reinterpret_cast<Floats*>(out + (r * kTiles + t) * 16 + part * kLanes) = total[part][t][r];
    }
  }
}

template <int kBits, int kPlanes>
inline void MultiplyRows(const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
                         float* out) {
  if (rows == 1) return MultiplyTiles<kBits, kPlanes, 1>(tiles, inputs, first_row, rows, out);
  if (rows == 2) return MultiplyTiles<kBits, kPlanes, 2>(tiles, inputs, first_row, rows, out);
  if (rows <= 4) return MultiplyTiles<kBits, kPlanes, 4>(tiles, inputs, first_row, rows, out);
  return MultiplyTiles<kBits, kPlanes, PackedKernels::kMostRows>(tiles, inputs, first_row, rows, out);
}

template <int kPlanes>
inline void MultiplyPlanes(int bits, const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row,
                           int64_t rows, float* out) {
  switch (bits) {
    case 2:
      return MultiplyRows<2, kPlanes>(tiles, inputs, first_row, rows, out);
    case 3:
      return MultiplyRows<3, kPlanes>(tiles, inputs, first_row, rows, out);
    case 4:
      return MultiplyRows<4, kPlanes>(tiles, inputs, first_row, rows, out);
    case 5:
      return MultiplyRows<5, kPlanes>(tiles, inputs, first_row, rows, out);
    case 6:
      return MultiplyRows<6, kPlanes>(tiles, inputs, first_row, rows, out);
    case 7:
      return MultiplyRows<7, kPlanes>(tiles, inputs, first_row, rows, out);
    case 8:
      return MultiplyRows<8, kPlanes>(tiles, inputs, first_row, rows, out);
  }
}

void Multiply(int bits, const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
              float* out) {
  if (inputs.planes == 1) return MultiplyPlanes<1>(bits, tiles, inputs, first_row, rows, out);
  return MultiplyPlanes<2>(bits, tiles, inputs, first_row, rows, out);
}

// The scale of a block of `count` inputs, a multiple of kLanes: NaN if one is not finite.
inline float BlockScale(int planes, const float* x, int64_t count) {
  Floats greatest{}, poison{};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats v = LoadFloats(x + i), magnitude = v < Floats{} ? -v : v;
    greatest = magnitude > greatest ? magnitude : greatest;
    poison += v * 0.0f;
  }
  float most = 0, sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    most = greatest[lane] > most ? greatest[lane] : most;
    sum += poison[lane];
  }
  // Below 1e-30 a quotient would overflow; so little is nothing beside any other input.
  return most < 1e-30f ? sum : most / static_cast<float>(PackedKernels::LargestValue(planes)) + sum;
}

template <int kPlanes>
inline void PackPlanes(int bits, const float* x, const ColumnBlock* blocks, int64_t block_count,
                       std::byte* values, float* scales, int32_t* sums) {
  const UnitPacker<kPlanes> packer(bits);
  for (int64_t b = 0; b < block_count; ++b) {
    const int64_t count = blocks[b].units * kUnitColumns;
    const float* in = x + blocks[b].first_unit * kUnitColumns;
    const float scale = BlockScale(kPlanes, in, count);
    const float factor = scale > 0 ? 1.0f / scale : 0.0f;  // 0 for NaN: its values are 0, its product NaN
    int32_t rounded[kBlockUnits * kUnitColumns];
    Ints sum{};
    for (int64_t i = 0; i < count; i += kLanes) {
      const Floats shifter = SplatFloat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
      Floats shifted = LoadFloats(in + i) * factor + shifter;
      if (!(scale > 0)) shifted = shifter;
      const Ints value = reinterpret_cast<const Ints&>(shifted) - 0x4b400000;
      *reinterpret_cast<Ints*>(rounded + i) = value;
      sum += value;
    }
    int32_t total = 0;
    for (int lane = 0; lane < kLanes; ++lane) total += sum[lane];
    scales[b] = scale;
    sums[b] = total;
    for (int64_t unit = 0; unit < blocks[b].units; ++unit) {
      packer.Pack(rounded + unit * kUnitColumns,
                  values + (blocks[b].first_unit + unit) * kUnitBytes<kPlanes>);
    }
  }
}

void PackInputs(int bits, int planes, const float* x, const ColumnBlock* blocks, int64_t block_count,
                std::byte* values, float* scales, int32_t* sums) {
  if (planes == 1) return PackPlanes<1>(bits, x, blocks, block_count, values, scales, sums);
  return PackPlanes<2>(bits, x, blocks, block_count, values, scales, sums);
}

#undef GPTQ_UNROLL
