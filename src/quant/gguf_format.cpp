#include "quant/gguf_format.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/gguf_block.h"
#include "base/half.h"

namespace gptq {
namespace {

float RoundToHalf(float value) { return HalfToFloat(FloatToHalf(value)); }

// Groups of one grid that fill whole blocks of `block` columns.
bool FillsBlocks(const GgufCandidate& candidate, int64_t block) {
  const bool whole_rows = candidate.group_size < 0 || candidate.group_size >= candidate.columns;
  return candidate.columns % block == 0 && (whole_rows || candidate.group_size % block == 0);
}

// Codes of a symmetric type of `bits` can be code - zero of all codes and zeros.
bool HoldsDifferences(const GgufCandidate& candidate, int bits) {
  const int middle = 1 << (candidate.bits - 1), most = (1 << candidate.bits) - 1;
  const int least = candidate.symmetric ? -middle : -most;
  const int greatest = candidate.symmetric ? middle - 1 : most;
  return least >= -(1 << (bits - 1)) && greatest < 1 << (bits - 1);
}

// One block: columns [first, first + type.columns) of a row, all of group g.
void EncodeRowBlock(const GgufBlockType& type, const PackedWeight& weight, int64_t row, int64_t first,
                    std::byte* out) {
  const int64_t g = row * weight.groups + weight.group_index[static_cast<size_t>(first)];
  const float scale = weight.scales[static_cast<size_t>(g)];
  const int zero = weight.zeros[static_cast<size_t>(g)];
  const uint8_t* codes = weight.codes.data() + row * weight.columns + first;
  GgufBlockGrid grid{.scale = scale};
  grid.scales.fill(1);
  uint8_t stored[kMostBlockColumns];
  for (int64_t c = 0; c < type.columns; ++c) {
    const int code = type.minima ? codes[c] : codes[c] - zero + type.middle();
    CHECK(code >= 0 && code <= type.maximum_code());
    stored[c] = static_cast<uint8_t>(code);
  }
  if (type.minima && type.super()) {
    grid.minimum = scale;
    grid.minima.fill(static_cast<int16_t>(zero));
  } else if (type.minima) {
    grid.minimum = RoundToHalf(-static_cast<float>(zero) * scale);
  }
  EncodeGgufBlock(type, grid, stored, out);
}

// The whole number that a group's zero is, if it is one.
std::optional<int16_t> WholeZero(const GgufBlockType& type, float scale, float minimum) {
  if (!type.minima) return static_cast<int16_t>(type.middle());
  if (minimum == 0.0f) return int16_t{0};
  if (scale == 0.0f) return std::nullopt;
  const float zero = std::round(-minimum / scale);
  if (!(zero >= 0 && zero <= static_cast<float>(type.maximum_code()))) return std::nullopt;
  const float stored = type.super() ? -zero * scale : RoundToHalf(-zero * scale);
  if (stored != minimum) return std::nullopt;
  return static_cast<int16_t>(zero);
}

// The largest number of neighbouring groups that can be joined: no row's grid changes but at its multiples.
int64_t JoinableGroups(const PackedWeight& weight) {
  int64_t joined = 0;
  for (int64_t r = 0; r < weight.rows; ++r) {
    const float* scales = weight.scales.data() + r * weight.groups;
    const int16_t* zeros = weight.zeros.data() + r * weight.groups;
    for (int64_t g = 1; g < weight.groups; ++g) {
      if (scales[g] != scales[g - 1] || zeros[g] != zeros[g - 1]) joined = std::gcd(joined, g);
    }
  }
  return joined == 0 ? weight.groups : joined;
}

void JoinGroups(PackedWeight& weight, int64_t joined) {
  if (joined <= 1) return;
  const int64_t groups = (weight.groups + joined - 1) / joined;
  for (int64_t r = 0; r < weight.rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      weight.scales[r * groups + g] = weight.scales[r * weight.groups + g * joined];
      weight.zeros[r * groups + g] = weight.zeros[r * weight.groups + g * joined];
    }
  }
  weight.groups = groups;
  weight.group_size *= joined;
  weight.scales.resize(static_cast<size_t>(weight.rows * groups));
  weight.zeros.resize(weight.scales.size());
}

}  // namespace

GgufChoice ChooseGgufType(const GgufCandidate& candidate) {
  GgufChoice choice;
  if (!candidate.sequential_groups) {
    choice.reason = "the groups of its activation order do not follow each other";
  } else if (candidate.scale_type != DType::kF16) {
    choice.reason = Concat("GGUF's scales are float16, these are ", Name(candidate.scale_type));
  } else if (!FillsBlocks(candidate, 32)) {
    choice.reason = Concat("groups of ", candidate.group_size, " in rows of ", candidate.columns,
                           " do not fill GGUF's blocks of 32");
  }
  if (!choice.reason.empty()) return choice;
  const bool super = FillsBlocks(candidate, 256);
  const auto take = [&](DType type, bool exact = true) {
    choice.type = type;
    choice.exact = exact;
    return choice;
  };
  // By bits per weight: 2.63, 3.44, 4.5, 5, 5.5, 6, 6.56, 8.5.
  if (super && candidate.bits == 2) return take(DType::kQ2_K);
  if (super && HoldsDifferences(candidate, 3)) return take(DType::kQ3_K);
  if (HoldsDifferences(candidate, 4)) return take(DType::kQ4_0);
  if (candidate.bits <= 4) return take(DType::kQ4_1, false);
  if (HoldsDifferences(candidate, 5)) return take(DType::kQ5_0);
  if (candidate.bits <= 5) return take(DType::kQ5_1, false);
  if (super && HoldsDifferences(candidate, 6)) return take(DType::kQ6_K);
  if (HoldsDifferences(candidate, 8)) return take(DType::kQ8_0);
  choice.reason = Concat("no type of GGUF has minima at ", candidate.bits, " bits");
  return choice;
}

Tensor ToGgufBlocks(const PackedWeight& weight, DType dtype, std::string_view name) {
  const GgufBlockType* type = FindGgufBlockType(dtype);
  CHECK(type != nullptr && weight.columns % type->columns == 0 && weight.SequentialGroups());
  if (std::ranges::any_of(weight.scales, [](float scale) { return RoundToHalf(scale) != scale; }))
    throw Error("a scale does not fit into float16", name, "quantize with --scale-type float16");
  Tensor blocks = Tensor::Uninitialized(dtype, {weight.rows, weight.columns});
  std::byte* out = blocks.data();
  const int64_t bytes = ByteSize(dtype, type->columns);
  for (int64_t r = 0; r < weight.rows; ++r) {
    for (int64_t c = 0; c < weight.columns; c += type->columns, out += bytes)
      EncodeRowBlock(*type, weight, r, c, out);
  }
  return blocks;
}

std::optional<PackedWeight> FromGgufBlocks(const TensorView& blocks) {
  const GgufBlockType* type = FindGgufBlockType(blocks.dtype);
  if (type == nullptr || blocks.shape.size() != 2) return std::nullopt;
  PackedWeight weight;
  weight.rows = blocks.shape[0];
  weight.columns = blocks.shape[1];
  weight.bits = type->bits;
  weight.symmetric = !type->minima;
  weight.group_size = type->group_columns;
  weight.groups = weight.columns / weight.group_size;
  weight.codes.resize(static_cast<size_t>(weight.rows * weight.columns));
  const std::byte* in = blocks.data;
  for (int64_t i = 0; i < weight.rows * weight.columns; i += type->columns) {
    const GgufBlockGrid grid = DecodeGgufBlock(*type, in, weight.codes.data() + i);
    in += ByteSize(type->dtype, type->columns);
    for (int64_t g = 0; g < type->groups(); ++g) {
      const float scale = grid.GroupScale(*type, g);
      const std::optional<int16_t> zero = WholeZero(*type, scale, grid.GroupMinimum(*type, g));
      if (!zero || !std::isfinite(scale) || RoundToHalf(scale) != scale) return std::nullopt;
      weight.scales.push_back(scale);
      weight.zeros.push_back(*zero);
    }
  }
  JoinGroups(weight, JoinableGroups(weight));
  for (int64_t c = 0; c < weight.columns; ++c)
    weight.group_index.push_back(static_cast<int32_t>(c / weight.group_size));
  return weight;
}

}  // namespace gptq
