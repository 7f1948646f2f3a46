#include "base/gguf_block.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/half.h"

namespace gptq {
namespace {

constexpr GgufBlockType kTypes[] = {
    {DType::kQ4_0, 32, 32, 4, false, 0, 0},     {DType::kQ4_1, 32, 32, 4, true, 0, 0},
    {DType::kQ5_0, 32, 32, 5, false, 0, 0},     {DType::kQ5_1, 32, 32, 5, true, 0, 0},
    {DType::kQ8_0, 32, 32, 8, false, 0, 0},     {DType::kQ2_K, 256, 16, 2, true, 0, 15},
    {DType::kQ3_K, 256, 16, 3, false, -32, 31}, {DType::kQ4_K, 256, 32, 4, true, 0, 63},
    {DType::kQ5_K, 256, 32, 5, true, 0, 63},    {DType::kQ6_K, 256, 16, 6, false, -128, 127},
};

// Where a part of a code lies: its lowest bits, or those above them.
struct Place {
  int64_t byte, shift;
  bool across = false;  // the next codes' parts lie in the next bits, not at this place of the next bytes
};

// Codes whose parts lie one after the other.
constexpr int64_t kRun = 16;

// Bytes of a block being written; fields of bits are or-ed into zeros.
class Bytes {
 public:
  explicit Bytes(std::byte* data) : data_(data) {}
  void Or(int64_t at, int64_t value, int64_t shift) {
    data_[at] |= static_cast<std::byte>(static_cast<uint32_t>(value) << shift & 0xff);
  }
  void Half(int64_t at, float value) {
    const uint16_t bits = FloatToHalf(value);
    Or(at, bits & 0xff, 0);
    Or(at + 1, bits >> 8, 0);
  }

 private:
  std::byte* data_;
};

// ... and being read.
class ConstBytes {
 public:
  explicit ConstBytes(const std::byte* data) : data_(data) {}
  int Field(int64_t at, int64_t shift, int bits) const {
    return static_cast<int>(data_[at]) >> shift & ((1 << bits) - 1);
  }
  float Half(int64_t at) const {
    return HalfToFloat(static_cast<uint16_t>(Field(at, 0, 8) | Field(at + 1, 0, 8) << 8));
  }
  // Xors the parts of kRun codes, of `bits` each, into the codes at bit `position`.
  void FlipRun(Place place, int bits, int position, uint8_t* codes) const {
    const auto* from = reinterpret_cast<const uint8_t*>(data_ + place.byte);
    const int mask = (1 << bits) - 1;
    if (place.across) {
      const int word = from[0] | from[1] << 8;
      for (int i = 0; i < kRun; ++i)
        codes[i] ^= static_cast<uint8_t>((word >> (i * bits) & mask) << position);
      return;
    }
    for (int64_t i = 0; i < kRun; ++i)
      codes[i] ^= static_cast<uint8_t>((from[i] >> place.shift & mask) << position);
  }

 private:
  const std::byte* data_;
};

// What the layout of a type says of element e of a block.
struct Layout {
  int low_bits, high_bits;  // of a code; the high ones may be 0
  Place (*low)(int64_t e);
  Place (*high)(int64_t e);
  int64_t scale, minimum;  // bytes of the block's float16; -1: none
};

Place None(int64_t) { return {0, 0}; }
template <int64_t kBegin>
Place Nibble32(int64_t e) {  // element e in the low nibble of byte e, element 16 + e in its high nibble
  return {kBegin + e % 16, e / 16 * 4};
}
template <int64_t kBegin>
Place Bit32(int64_t e) {
  return {kBegin + e / 8, e % 8, true};
}
template <int64_t kBegin>
Place Pair256(int64_t e) {  // 128 elements in 32 bytes, 32 of them at each pair of bits
  return {kBegin + e / 128 * 32 + e % 32, e / 32 % 4 * 2};
}
template <int64_t kBegin>
Place Bit256(int64_t e) {  // bit i of byte l: element 32 i + l
  return {kBegin + e % 32, e / 32};
}
template <int64_t kBegin>
Place Nibble256(int64_t e) {  // 64 elements in 32 bytes: 32 low nibbles, then 32 high ones
  return {kBegin + e / 64 * 32 + e % 32, e / 32 % 2 * 4};
}
Place Q6Low(int64_t e) {  // 128 elements in 64 bytes: 64 low nibbles, then 64 high ones
  return {e / 128 * 64 + e % 64, e / 64 % 2 * 4};
}

Layout LayoutOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return {4, 0, Nibble32<2>, None, 0, -1};
    case DType::kQ4_1:
      return {4, 0, Nibble32<4>, None, 0, 2};
    case DType::kQ5_0:
      return {4, 1, Nibble32<6>, Bit32<2>, 0, -1};
    case DType::kQ5_1:
      return {4, 1, Nibble32<8>, Bit32<4>, 0, 2};
    case DType::kQ8_0:
      return {8, 0, [](int64_t e) { return Place{2 + e, 0}; }, None, 0, -1};
    case DType::kQ2_K:
      return {2, 0, Pair256<16>, None, 80, 82};
    case DType::kQ3_K:
      return {2, 1, Pair256<32>, Bit256<0>, 108, -1};
    case DType::kQ4_K:
      return {4, 0, Nibble256<16>, None, 0, 2};
    case DType::kQ5_K:
      return {4, 1, Nibble256<48>, Bit256<16>, 0, 2};
    case DType::kQ6_K:
      return {4, 2, Q6Low, Pair256<128>, 208, -1};
    default:
      CHECK(false);
      return {};
  }
}

// Scales and minima of a super-block's groups.
void EncodeScales(DType dtype, const GgufBlockGrid& grid, Bytes bytes) {
  for (int64_t g = 0; g < 16; ++g) {
    const int scale = grid.scales[g], minimum = grid.minima[g];
    if (dtype == DType::kQ2_K) {
      bytes.Or(g, scale | minimum << 4, 0);
    } else if (dtype == DType::kQ3_K) {
      bytes.Or(96 + g % 8, (scale + 32) & 0xf, g / 8 * 4);
      bytes.Or(104 + g % 4, (scale + 32) >> 4, g / 4 * 2);
    } else if (dtype == DType::kQ6_K) {
      bytes.Or(192 + g, static_cast<uint8_t>(scale), 0);
    } else if (g < 4) {  // Q4_K and Q5_K have 8 groups
      bytes.Or(4 + g, scale, 0);
      bytes.Or(8 + g, minimum, 0);
    } else if (g < 8) {
      bytes.Or(8 + g, (scale & 0xf) | (minimum & 0xf) << 4, 0);
      bytes.Or(g, scale >> 4, 6);
      bytes.Or(4 + g, minimum >> 4, 6);
    }
  }
}

void DecodeScales(DType dtype, ConstBytes bytes, GgufBlockGrid* grid) {
  for (int64_t g = 0; g < 16; ++g) {
    int scale = 0, minimum = 0;
    if (dtype == DType::kQ2_K) {
      scale = bytes.Field(g, 0, 4);
      minimum = bytes.Field(g, 4, 4);
    } else if (dtype == DType::kQ3_K) {
      scale = (bytes.Field(96 + g % 8, g / 8 * 4, 4) | bytes.Field(104 + g % 4, g / 4 * 2, 2) << 4) - 32;
    } else if (dtype == DType::kQ6_K) {
      scale = static_cast<int8_t>(bytes.Field(192 + g, 0, 8));
    } else if (g < 4) {
      scale = bytes.Field(4 + g, 0, 6);
      minimum = bytes.Field(8 + g, 0, 6);
    } else if (g < 8) {
      scale = bytes.Field(8 + g, 0, 4) | bytes.Field(g, 6, 2) << 4;
      minimum = bytes.Field(8 + g, 4, 4) | bytes.Field(4 + g, 6, 2) << 4;
    }
    grid->scales[g] = static_cast<int16_t>(scale);
    grid->minima[g] = static_cast<int16_t>(minimum);
  }
}

// Q8_0 stores codes as signed bytes.
int SignFlip(DType dtype) { return dtype == DType::kQ8_0 ? 0x80 : 0; }

}  // namespace

const GgufBlockType* FindGgufBlockType(DType dtype) {
  const auto found =
      std::ranges::find_if(kTypes, [&](const GgufBlockType& type) { return type.dtype == dtype; });
  return found == std::end(kTypes) ? nullptr : found;
}

std::optional<DType> GgufTypeFromName(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const std::optional<DType> dtype = DTypeFromName(upper);
  return dtype && FindGgufBlockType(*dtype) != nullptr ? dtype : std::nullopt;
}

DType FittingGgufType(DType wanted, int64_t columns) {
  const GgufBlockType* type = FindGgufBlockType(wanted);
  if (type == nullptr || columns % type->columns == 0) return wanted;
  switch (wanted) {
    case DType::kQ2_K:
    case DType::kQ3_K:
      return FittingGgufType(DType::kQ4_0, columns);
    case DType::kQ4_K:
      return FittingGgufType(DType::kQ5_0, columns);
    case DType::kQ5_K:
      return FittingGgufType(DType::kQ5_1, columns);
    case DType::kQ6_K:
      return FittingGgufType(DType::kQ8_0, columns);
    default:
      return DType::kF16;
  }
}

void EncodeGgufBlock(const GgufBlockType& type, const GgufBlockGrid& grid, const uint8_t* codes,
                     std::byte* block) {
  const Layout layout = LayoutOf(type.dtype);
  std::memset(block, 0, static_cast<size_t>(ByteSize(type.dtype, type.columns)));
  Bytes bytes(block);
  bytes.Half(layout.scale, grid.scale);
  if (layout.minimum >= 0) bytes.Half(layout.minimum, grid.minimum);
  if (type.super()) EncodeScales(type.dtype, grid, bytes);
  const int low_mask = (1 << layout.low_bits) - 1;
  for (int64_t e = 0; e < type.columns; ++e) {
    const int code = codes[e] ^ SignFlip(type.dtype);
    const Place low = layout.low(e);
    bytes.Or(low.byte, code & low_mask, low.shift);
    if (layout.high_bits == 0) continue;
    const Place high = layout.high(e);
    bytes.Or(high.byte, code >> layout.low_bits, high.shift);
  }
}

GgufBlockGrid DecodeGgufBlock(const GgufBlockType& type, const std::byte* block, uint8_t* codes) {
  const Layout layout = LayoutOf(type.dtype);
  const ConstBytes bytes(block);
  GgufBlockGrid grid;
  grid.scale = bytes.Half(layout.scale);
  if (layout.minimum >= 0) grid.minimum = bytes.Half(layout.minimum);
  if (type.super()) DecodeScales(type.dtype, bytes, &grid);
  std::memset(codes, SignFlip(type.dtype), static_cast<size_t>(type.columns));
  for (int64_t e = 0; e < type.columns; e += kRun) {
    bytes.FlipRun(layout.low(e), layout.low_bits, 0, codes + e);
    if (layout.high_bits > 0) bytes.FlipRun(layout.high(e), layout.high_bits, layout.low_bits, codes + e);
  }
  return grid;
}

}  // namespace gptq
