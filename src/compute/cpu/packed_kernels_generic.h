// The arithmetic of packed_kernels.h. Included by one file per instruction set, inside an anonymous
// namespace, after kLanes and these are defined: Ints (kLanes 32-bit integers), Factors, Sums, UnitPacker,
// kOddInPlace, LoadHalves, LoadBytes. Like vector_kernels_generic.h a text to be compiled several times.

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

// sums[set] += a code vector of each tile times the inputs at `offset`.
template <int kBits, int kPlanes, int kRows>
inline void AddCodes(const Ints* codes, const std::byte* const* inputs, int64_t offset, int set,
                     SumTile<kPlanes, kRows>& tile) {
  GPTQ_UNROLL for (int r = 0; r < kRows; ++r) {
    const Factors<kPlanes> factors(inputs[r] + offset);
    GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) tile.sums[t][r][set].template Add<kBits>(codes[t], factors);
  }
}

// Rows of inputs, one pointer each.
template <int kRows>
struct InputRows {
  InputRows(const PackedInputs& inputs, int64_t first, int64_t rows) {
    const int64_t blocks = inputs.form.block_count, groups = blocks * inputs.form.groups;
    for (int r = 0; r < kRows; ++r) {  // surplus rows repeat the last one
      const int64_t row = first + (r < rows ? r : rows - 1);
      values[r] = inputs.values + row * inputs.row_bytes;
      scales[r] = inputs.scales + row * blocks;
      sums[r] = inputs.sums + row * groups;
      scaled_sums[r] = inputs.scaled_sums + row * groups;
    }
  }
  const std::byte* values[kRows];
  const float* scales[kRows];
  const int32_t* sums[kRows];
  const float* scaled_sums[kRows];
};

// A group of the weights, in a part of the lanes, beside the block of inputs that it is in.
struct GroupPlace {
  int64_t group, lane;
  int64_t block, sum;  // where the block's scale and the group's sum of inputs lie in a row's
};

// What sums of a group begin with: less the part of a zero point that all weights have.
template <int kPlanes, int kRows>
inline void StartGroup(const WeightTile* tiles, const GroupPlace& at, const InputRows<kRows>& inputs,
                       SumTile<kPlanes, kRows>& sums) {
  if (tiles[0].zeros != nullptr) return;
  GPTQ_UNROLL for (int r = 0; r < kRows; ++r) {
    const Ints start = SplatInt(inputs.sums[r][at.sum]);
    GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) sums.sums[t][r][0].Start(start);
  }
}

// total[r * stride] += the group's sums of tile t, scaled.
template <int kBits, int kPlanes, int kRows>
inline void FinishGroup(const WeightTile* tiles, int t, const GroupPlace& at, const InputRows<kRows>& inputs,
                        const SumTile<kPlanes, kRows>& sums, float* total, int64_t stride) {
  const WeightTile& tile = tiles[t];
  const GroupScales scales(tile, at.group, at.lane);
  Ints part[kRows];
  Floats now[kRows];
  GPTQ_UNROLL for (int r = 0; r < kRows; ++r) {
    part[r] = sums.template Total<kBits>(t, r);
    now[r] = LoadFloats(total + r * stride);
  }
  if (scales.has_offset) {
    GPTQ_UNROLL for (int r = 0; r < kRows; ++r) now[r] += scales.offset * inputs.scaled_sums[r][at.sum];
  } else if (tile.zeros != nullptr) {
    const Ints zeros = LoadBytes(tile.zeros + scales.index);
    GPTQ_UNROLL for (int r = 0; r < kRows; ++r) part[r] += zeros * inputs.sums[r][at.sum];
  }
  GPTQ_UNROLL for (int r = 0; r < kRows; ++r) {
    now[r] += __builtin_convertvector(part[r], Floats) * (scales.scale * inputs.scales[r][at.block]);
    *reinterpret_cast<Floats*>(total + r * stride) = now[r];
  }
}

// Codes are read once, from memory. The processor's own prefetching stops at each page of 4 KiB, and is too
// late where there is little to read for much to compute; where there is most to read it is better alone.
template <int kBits>
inline void PrefetchUnit(const uint8_t* unit) {
  constexpr int64_t kNear = 2048, kFar = 4096;
  if constexpr (kBits == 8) return;
  GPTQ_UNROLL for (int line = 0; line < kBits; ++line) {
    __builtin_prefetch(unit + line * 64 + kNear);
    if constexpr (kBits < 4) __builtin_prefetch(unit + line * 64 + kFar, 0, 2);  // into the second cache
  }
}

inline void PrefetchScales(const WeightTile* tiles, int64_t group) {
  constexpr int64_t kAhead = 512;
  GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) {
    const int64_t at = (group >> tiles[t].super_shift) * 16 * (tiles[t].half ? 2 : 4);
    __builtin_prefetch(static_cast<const char*>(tiles[t].scales) + at + kAhead);
  }
}

// One row: codes go from memory to the sums.

template <int kBits, int kPlanes, int j>
inline void AddVector(const uint8_t* const* lines, const std::byte* const* inputs, int64_t offset,
                      SumTile<kPlanes, 1>& tile) {
  constexpr int kSets = SumTile<kPlanes, 1>::kSets;
  Ints codes[kTiles];
  GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) codes[t] = Unpack<kBits, j, (kSets > 1)>(lines[t]);
  AddCodes<kBits, kPlanes, 1>(codes, inputs, offset + j * kVectorBytes<kPlanes>, j % kSets, tile);
}

template <int kBits, int kPlanes, int kHalf>
inline void AddHalfUnit(const uint8_t* const* lines, const std::byte* const* inputs, int64_t offset,
                        SumTile<kPlanes, 1>& tile) {
  AddVector<kBits, kPlanes, kHalf * 4>(lines, inputs, offset, tile);
  AddVector<kBits, kPlanes, kHalf * 4 + 1>(lines, inputs, offset, tile);
  AddVector<kBits, kPlanes, kHalf * 4 + 2>(lines, inputs, offset, tile);
  AddVector<kBits, kPlanes, kHalf * 4 + 3>(lines, inputs, offset, tile);
}

template <int kBits, int kPlanes, int kGroups>
void MultiplyRow(const WeightTile* tiles, const PackedInputs& inputs, int64_t row, float* out) {
  const InputRows<1> in(inputs, row, 1);
  alignas(64) float total[kTiles * 16] = {};
  for (int64_t b = 0; b < inputs.form.block_count; ++b) {
    const ColumnBlock block = inputs.form.blocks[b];
    PrefetchScales(tiles, block.group);
    for (int part = 0; part < kParts; ++part) {
      const auto place = [&](int g) {
        return GroupPlace{block.group + g, part * kLanes, b, b * kGroups + g};
      };
      SumTile<kPlanes, 1> sums[kGroups] = {};
      GPTQ_UNROLL for (int g = 0; g < kGroups; ++g) StartGroup(tiles, place(g), in, sums[g]);
      for (int64_t unit = block.first_unit; unit < block.first_unit + block.units; ++unit) {
        const uint8_t* lines[kTiles];
        GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) {
          lines[t] = tiles[t].codes + unit * (kBits * 64) + part * (kLanes * 4);
          if (part == 0) PrefetchUnit<kBits>(lines[t]);
        }
        AddHalfUnit<kBits, kPlanes, 0>(lines, in.values, unit * kUnitBytes<kPlanes>, sums[0]);
        AddHalfUnit<kBits, kPlanes, 1>(lines, in.values, unit * kUnitBytes<kPlanes>, sums[kGroups - 1]);
      }
      GPTQ_UNROLL for (int g = 0; g < kGroups; ++g) {
        GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) FinishGroup<kBits, kPlanes, 1>(
            tiles, t, place(g), in, sums[g], total + t * 16 + part * kLanes, 0);
      }
    }
  }
  for (int i = 0; i < kTiles * 16; ++i) out[i] = total[i];
}

template <int kPlanes>
inline void MultiplyRow(const WeightTile* tiles, const PackedInputs& inputs, int64_t row, float* out) {
  const bool halves = inputs.form.groups == 2;
  switch (inputs.form.bits) {
    case 2:
      return halves ? MultiplyRow<2, kPlanes, 2>(tiles, inputs, row, out)
                    : MultiplyRow<2, kPlanes, 1>(tiles, inputs, row, out);
    case 3:
      return halves ? MultiplyRow<3, kPlanes, 2>(tiles, inputs, row, out)
                    : MultiplyRow<3, kPlanes, 1>(tiles, inputs, row, out);
    case 4:
      return MultiplyRow<4, kPlanes, 1>(tiles, inputs, row, out);
    case 5:
      return MultiplyRow<5, kPlanes, 1>(tiles, inputs, row, out);
    case 6:
      return halves ? MultiplyRow<6, kPlanes, 2>(tiles, inputs, row, out)
                    : MultiplyRow<6, kPlanes, 1>(tiles, inputs, row, out);
    case 7:
      return MultiplyRow<7, kPlanes, 1>(tiles, inputs, row, out);
    case 8:
      return MultiplyRow<8, kPlanes, 1>(tiles, inputs, row, out);
  }
}

// Several rows: the codes of some blocks are unpacked to bytes in the first cache, and multiplied from there.

constexpr int64_t kChunkUnits = 8;
constexpr int64_t kUnpackedBytes = kUnitVectors * kTiles * 64;  // of a unit: [vectors][tiles][64]

struct Chunk {
  int64_t first_block, end_block;
  alignas(64) uint8_t codes[kChunkUnits * kUnpackedBytes];
};

template <int kBits>
void StoreUnit(const uint8_t* unit, uint8_t* to) {
  PrefetchUnit<kBits>(unit);
  for (int part = 0; part < kParts; ++part, unit += kLanes * 4, to += kLanes * 4) {
    UnpackUnit<kBits>(unit,
                      [&](int j, Ints codes) { *reinterpret_cast<Ints*>(to + j * (kTiles * 64)) = codes; });
  }
}

// Blocks from chunk.first_block on, as many as have room.
void UnpackBlocks(const InputForm& form, const WeightTile* tiles, Chunk& chunk) {
  constexpr decltype(&StoreUnit<2>) kStore[] = {StoreUnit<2>, StoreUnit<3>, StoreUnit<4>, StoreUnit<5>,
                                                StoreUnit<6>, StoreUnit<7>, StoreUnit<8>};
  int64_t units = 0, b = chunk.first_block;
  for (; b < form.block_count && units + form.blocks[b].units <= kChunkUnits; ++b) {
    for (int64_t u = 0; u < form.blocks[b].units; ++u, ++units) {
      const int64_t at = (form.blocks[b].first_unit + u) * form.bits * 64;
      for (int t = 0; t < kTiles; ++t)
        kStore[form.bits - 2](tiles[t].codes + at, chunk.codes + units * kUnpackedBytes + t * 64);
    }
  }
  chunk.end_block = b;
}

// out [kRows][kTiles][16] += the products of a chunk. kBits: an upper bound.
template <int kBits, int kPlanes, int kRows>
void MultiplyChunk(const WeightTile* tiles, const Chunk& chunk, const PackedInputs& inputs, int64_t first_row,
                   int64_t rows, float* out) {
  const InputRows<kRows> in(inputs, first_row, rows);
  const int64_t groups = inputs.form.groups;
  const uint8_t* codes = chunk.codes;
  for (int64_t b = chunk.first_block; b < chunk.end_block; ++b) {
    const ColumnBlock block = inputs.form.blocks[b];
    const int64_t vectors = block.units * kUnitVectors / groups;
    for (int part = 0; part < kParts; ++part) {
      const uint8_t* from = codes + part * (kLanes * 4);
      int64_t offset = block.first_unit * kUnitBytes<kPlanes>;
      for (int64_t group = 0; group < groups; ++group) {
        const GroupPlace at{block.group + group, part * kLanes, b, b * groups + group};
        SumTile<kPlanes, kRows> sums = {};
        StartGroup(tiles, at, in, sums);
        for (int64_t v = 0; v < vectors; ++v, from += kTiles * 64, offset += kVectorBytes<kPlanes>) {
          Ints vector[kTiles];
          GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) vector[t] = LoadInts(from + t * 64);
          AddCodes<kBits, kPlanes, kRows>(vector, in.values, offset, 0, sums);
        }
        GPTQ_UNROLL for (int t = 0; t < kTiles; ++t)
            FinishGroup<kBits, kPlanes, kRows>(tiles, t, at, in, sums, out + t * 16 + at.lane, kTiles * 16);
      }
    }
    codes += block.units * kUnpackedBytes;
  }
}

template <int kBits, int kPlanes>
void MultiplyRows(const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
                  float* out) {
  constexpr int kMost = 6;  // whose sums fit the registers
  static_assert(PackedKernels::kMostRows % kMost == 0);
  const int64_t written = (rows + kMost - 1) / kMost * kMost;  // by the last call, too
  for (int64_t i = 0; i < written * kTiles * 16; ++i) out[i] = 0;
  Chunk chunk;
  for (int64_t b = 0; b < inputs.form.block_count; b = chunk.end_block) {
    chunk.first_block = b;
    UnpackBlocks(inputs.form, tiles, chunk);
    for (int64_t r = 0; r < rows; r += kMost) {
      const int64_t count = rows - r < kMost ? rows - r : kMost;
      const auto multiply = count <= 2   ? MultiplyChunk<kBits, kPlanes, 2>
                            : count <= 4 ? MultiplyChunk<kBits, kPlanes, 4>
                                         : MultiplyChunk<kBits, kPlanes, kMost>;
      multiply(tiles, chunk, inputs, first_row + r, count, out + r * kTiles * 16);
    }
  }
}

void Multiply(const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
              float* out) {
  const bool one_plane = inputs.form.planes == 1;
  if (rows == 1) {
    return one_plane ? MultiplyRow<1>(tiles, inputs, first_row, out)
                     : MultiplyRow<2>(tiles, inputs, first_row, out);
  }
  if (!one_plane) return MultiplyRows<8, 2>(tiles, inputs, first_row, rows, out);
  if (inputs.form.bits == 8) return MultiplyRows<8, 1>(tiles, inputs, first_row, rows, out);
  return MultiplyRows<7, 1>(tiles, inputs, first_row, rows, out);
}

// Four lanes at a time: a lane alone is slow to take out.
typedef int32_t IntQuad __attribute__((vector_size(16), aligned(4), may_alias));
typedef float FloatQuad __attribute__((vector_size(16), aligned(4), may_alias));

inline int32_t SumLanes(Ints v) {
  const auto* quads = reinterpret_cast<const IntQuad*>(&v);
  IntQuad sum = quads[0];
  GPTQ_UNROLL for (int i = 1; i < kLanes / 4; ++i) sum += quads[i];
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

inline float SumLanes(Floats v) {
  const auto* quads = reinterpret_cast<const FloatQuad*>(&v);
  FloatQuad sum = quads[0];
  GPTQ_UNROLL for (int i = 1; i < kLanes / 4; ++i) sum += quads[i];
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

inline float GreatestLane(Floats v) {
  const auto* quads = reinterpret_cast<const FloatQuad*>(&v);
  FloatQuad most = quads[0];
  GPTQ_UNROLL for (int i = 1; i < kLanes / 4; ++i) most = quads[i] > most ? quads[i] : most;
  const float a = most[0] > most[2] ? most[0] : most[2], b = most[1] > most[3] ? most[1] : most[3];
  return a > b ? a : b;
}

inline Floats Magnitude(Floats v) { return v < Floats{} ? -v : v; }

// The scale of a block of `count` inputs, a multiple of kLanes: NaN if one is not finite.
inline float BlockScale(int planes, const float* x, int64_t count) {
  Floats greatest{}, poison{};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats v = LoadFloats(x + i), magnitude = Magnitude(v);
    greatest = magnitude > greatest ? magnitude : greatest;
    poison += v * 0.0f;
  }
  const float most = GreatestLane(greatest), sum = SumLanes(poison);
  // Below 1e-30 a quotient would overflow; so little is nothing beside any other input.
  return most < 1e-30f ? sum : most / static_cast<float>(PackedKernels::LargestValue(planes)) + sum;
}

// The rounded values of `count` inputs, a multiple of kLanes, and their sum.
inline int32_t RoundInputs(const float* x, int64_t count, float scale, int32_t* rounded) {
  const float factor = scale > 0 ? 1.0f / scale : 0.0f;  // 0 for NaN: its values are 0, its product NaN
  Ints sum{};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats shifter = SplatFloat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    Floats shifted = LoadFloats(x + i) * factor + shifter;
    if (!(scale > 0)) shifted = shifter;
    const Ints value = reinterpret_cast<const Ints&>(shifted) - 0x4b400000;
    *reinterpret_cast<Ints*>(rounded + i) = value;
    sum += value;
  }
  return SumLanes(sum);
}

template <int kPlanes>
inline void PackPlanes(const InputForm& form, const float* x, std::byte* values, float* scales, int32_t* sums,
                       float* scaled_sums) {
  const UnitPacker<kPlanes> packer(form.bits);
  for (int64_t b = 0; b < form.block_count; ++b) {
    const ColumnBlock& block = form.blocks[b];
    const int64_t columns = block.units * kUnitColumns, group_columns = columns / form.groups;
    const float* in = x + block.first_unit * kUnitColumns;
    scales[b] = b % form.blocks_together > 0 ? scales[b - 1]
                                             : BlockScale(kPlanes, in, columns * form.blocks_together);
    int32_t rounded[kBlockUnits * kUnitColumns];
    for (int64_t group = 0; group < form.groups; ++group, ++sums, ++scaled_sums) {
      const int64_t first = group * group_columns;
      const int32_t sum = RoundInputs(in + first, group_columns, scales[b], rounded + first);
      *sums = -sum * form.zero;
      *scaled_sums = static_cast<float>(sum) * scales[b];
    }
    for (int64_t unit = 0; unit < block.units; ++unit) {
      packer.Pack(rounded + unit * kUnitColumns, values + (block.first_unit + unit) * kUnitBytes<kPlanes>);
    }
  }
}

void PackInputs(const InputForm& form, const float* x, std::byte* values, float* scales, int32_t* sums,
                float* scaled_sums) {
  if (form.planes == 1) return PackPlanes<1>(form, x, values, scales, sums, scaled_sums);
  return PackPlanes<2>(form, x, values, scales, sums, scaled_sums);
}

#include "compute/cpu/outliers_generic.h"

#undef GPTQ_UNROLL
