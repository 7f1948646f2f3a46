// The codes and scales of tile_layout.h as vectors. Included by files of one instruction set, inside an
// anonymous namespace, after kLanes and these are defined: Ints (kLanes 32-bit integers), LoadHalves,
// LoadBytes.

typedef float Floats __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

constexpr int kParts = 16 / kLanes;  // vectors in a line

constexpr int kTiles = PackedKernels::kTiles;

#define GPTQ_UNROLL _Pragma("GCC unroll 16")

inline Ints LoadInts(const void* p) { return *static_cast<const Ints*>(p); }
inline Floats LoadFloats(const float* p) { return *reinterpret_cast<const Floats*>(p); }
inline Ints SplatInt(int32_t value) { return value - Ints{}; }
inline Floats SplatFloat(float value) { return value - Floats{}; }

// Bits [kShift, kShift + kWidth) of each byte, moved to [kPosition, kPosition + kWidth).
template <int kWidth, int kShift, int kPosition>
inline Ints TakeBits(Ints line) {
  constexpr uint32_t kMask = ((1u << kWidth) - 1) << kPosition;
  constexpr int kRight = kShift - kPosition;
  const Ints moved = kRight > 0 ? line >> (kRight > 0 ? kRight : 0) : line << (kRight < 0 ? -kRight : 0);
  return kWidth == 8 ? moved : moved & static_cast<int32_t>(kMask * 0x01010101u);
}

// The bits of vectors 6 and 7 that are spread over the three lines of a unit of 3 bits, in one line.
inline Ints GatherSpareBits(const uint8_t* unit) {
  return ((LoadInts(unit) >> 3) & 0x11111111) | ((LoadInts(unit + 64) >> 2) & 0x22222222) |
         ((LoadInts(unit + 128) >> 1) & 0x44444444);
}

// Code vector j of the unit whose lines begin at `unit` (those of this part of the lanes). Every second one
// stays where it is in its byte where `kInPlace`: its codes come 2^OddShift times as large.
constexpr int OddShift(int bits) { return bits == 3 || bits == 4 ? 4 : bits == 2 ? 2 : 0; }

template <int kBits, int j, bool kInPlace>
inline Ints Unpack(const uint8_t* unit) {
  constexpr int kPosition = kInPlace && j % 2 == 1 ? OddShift(kBits) : 0;
  if constexpr (kBits == 3)
    return TakeBits<3, j % 2 * 4, kPosition>(j < 6 ? LoadInts(unit + j / 2 * 64) : GatherSpareBits(unit));
  constexpr std::array<int, 3> kPlanes = PlanesOf(kBits);
  constexpr int kFirst = kPlanes[0], kSecond = kPlanes[1], kThird = kPlanes[2];
  Ints codes = TakeBits<kFirst, j * kFirst % 8, kPosition>(LoadInts(unit + j * kFirst / 8 * 64));
  if constexpr (kSecond > 0) {
    codes |= TakeBits<kSecond, j * kSecond % 8, kFirst>(LoadInts(unit + (kFirst + j * kSecond / 8) * 64));
  }
  if constexpr (kThird > 0) {
    codes |= TakeBits<kThird, j * kThird % 8, kFirst + kSecond>(
        LoadInts(unit + (kFirst + kSecond + j * kThird / 8) * 64));
  }
  return codes;
}

// visit(j, codes) for each code vector of a unit.
template <int kBits>
inline void UnpackUnit(const uint8_t* unit, const auto& visit) {
  visit(0, Unpack<kBits, 0, false>(unit));
  visit(1, Unpack<kBits, 1, false>(unit));
  visit(2, Unpack<kBits, 2, false>(unit));
  visit(3, Unpack<kBits, 3, false>(unit));
  visit(4, Unpack<kBits, 4, false>(unit));
  visit(5, Unpack<kBits, 5, false>(unit));
  visit(6, Unpack<kBits, 6, false>(unit));
  visit(7, Unpack<kBits, 7, false>(unit));
}

inline Floats LoadScales(const void* scales, bool half, int64_t index) {
  return half ? LoadHalves(static_cast<const uint16_t*>(scales) + index)
              : LoadFloats(static_cast<const float*>(scales) + index);
}

// What turns the integers of a group into floats: outputs [lane, lane + kLanes).
struct GroupScales {
  inline GroupScales(const WeightTile& tile, int64_t group, int64_t lane)
      : index(group * 16 + lane), has_offset(tile.offsets != nullptr) {
    const bool super = tile.sub_scales != nullptr;
    const int64_t at = super ? (group >> tile.super_shift) * 16 + lane : index;
    scale = LoadScales(tile.scales, tile.half, at);
    if (has_offset) offset = LoadScales(tile.offsets, tile.half, at);
    if (super) Multiply(tile);
  }
  inline void Multiply(const WeightTile& tile) {
    Ints scales = LoadBytes(tile.sub_scales + index), offsets = scales >> 4;
    if (has_offset && tile.sub_offsets == nullptr) {
      scales &= 15, offsets &= 15;
    } else if (has_offset) {
      offsets = LoadBytes(tile.sub_offsets + index);
    }
    scale *= __builtin_convertvector(scales, Floats);
    if (has_offset) offset *= __builtin_convertvector(offsets, Floats);
  }
  int64_t index;
  bool has_offset;
  Floats scale, offset{};
};
