#include "compute/tiled_weight.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>

#include "base/convert.h"
#include "base/half.h"
#include "base/integer.h"

namespace gptq {
namespace {

using Vectors = std::array<uint32_t, kUnitVectors>;  // a lane of a unit: 4 codes in each

constexpr uint32_t kEachByte = 0x01010101;

uint32_t* LaneWord(uint8_t* unit, int64_t line, int64_t lane) {
  return reinterpret_cast<uint32_t*>(unit + line * kLineBytes) + lane;
}
uint32_t LaneWord(const uint8_t* unit, int64_t line, int64_t lane) {
  return *(reinterpret_cast<const uint32_t*>(unit + line * kLineBytes) + lane);
}

void StoreUnit3(const Vectors& v, uint8_t* unit, int64_t lane) {
  for (int k = 0; k < 3; ++k) {
    *LaneWord(unit, k, lane) =
        v[2 * k] | v[2 * k + 1] << 4 | ((v[6] >> k) & kEachByte) << 3 | ((v[7] >> k) & kEachByte) << 7;
  }
}

Vectors LoadUnit3(const uint8_t* unit, int64_t lane) {
  Vectors v{};
  for (int k = 0; k < 3; ++k) {
    const uint32_t word = LaneWord(unit, k, lane);
    v[2 * k] = word & 7 * kEachByte;
    v[2 * k + 1] = (word >> 4) & 7 * kEachByte;
    v[6] |= ((word >> 3) & kEachByte) << k;
    v[7] |= ((word >> 7) & kEachByte) << k;
  }
  return v;
}

void StoreUnit(int bits, const Vectors& v, uint8_t* unit, int64_t lane) {
  if (bits == 3) return StoreUnit3(v, unit, lane);
  int line = 0, position = 0;
  for (const int width : PlanesOf(bits)) {
    const uint32_t mask = ((1u << width) - 1) * kEachByte;
    for (int64_t j = 0; j < (width > 0 ? kUnitVectors : 0); ++j) {
      uint32_t* word = LaneWord(unit, line + j * width / 8, lane);
      const int64_t shift = j * width % 8;
      *word = (shift == 0 ? 0 : *word) | ((v[static_cast<size_t>(j)] >> position) & mask) << shift;
    }
    line += width;
    position += width;
  }
}

Vectors LoadUnit(int bits, const uint8_t* unit, int64_t lane) {
  if (bits == 3) return LoadUnit3(unit, lane);
  Vectors v{};
  int line = 0, position = 0;
  for (const int width : PlanesOf(bits)) {
    const uint32_t mask = ((1u << width) - 1) * kEachByte;
    for (int64_t j = 0; j < (width > 0 ? kUnitVectors : 0); ++j) {
      const uint32_t word = LaneWord(unit, line + j * width / 8, lane);
      v[static_cast<size_t>(j)] |= ((word >> (j * width % 8)) & mask) << position;
    }
    line += width;
    position += width;
  }
  return v;
}

std::array<uint8_t, kUnitColumns> UnitOrder(int bits) {
  std::array<uint8_t, kUnitColumns> order{};
  for (int64_t j = 0; j < kUnitVectors; ++j) {
    for (int64_t b = 0; b < 4; ++b)
      order[static_cast<size_t>(j * 4 + b)] = static_cast<uint8_t>(UnitColumn(bits, j, b));
  }
  return order;
}

void ForEach(ThreadPool* pool, int64_t count, const std::function<void(int64_t)>& body) {
  if (pool != nullptr) return pool->ParallelFor(count, body);
  for (int64_t i = 0; i < count; ++i) body(i);
}

// [rows, groups] as [tiles, groups, 16]; the rows that fill up the last tile are zeros.
template <typename Value>
void StoreTiles(const std::vector<Value>& values, int64_t rows, int64_t groups, auto* out) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      auto& place = out[(r / kTileOutputs * groups + g) * kTileOutputs + r % kTileOutputs];
      place = static_cast<std::remove_reference_t<decltype(place)>>(values[r * groups + g]);
    }
  }
}

// As a tensor of type F16 or F32.
Tensor TileScales(const std::vector<float>& values, int64_t rows, int64_t groups, bool half) {
  Tensor wide(DType::kF32, {(rows + kTileOutputs - 1) / kTileOutputs, groups, kTileOutputs});
  StoreTiles(values, rows, groups, wide.As<float>().data());
  return half ? FromFloat(wide, DType::kF16) : std::move(wide);
}

// GGUF's types of 32 weights with one scale (ggml-common.h).
struct BlockType {
  int bits;
  int32_t zero;       // where there are no offsets
  bool has_offset;    // a float16 after the scale
  int64_t high_bits;  // where the fifth bits begin, else 0
  int64_t codes;      // where the codes begin
};

std::optional<BlockType> BlockTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return BlockType{4, 8, false, 0, 2};
    case DType::kQ4_1:
      return BlockType{4, 0, true, 0, 4};
    case DType::kQ5_0:
      return BlockType{5, 16, false, 2, 6};
    case DType::kQ5_1:
      return BlockType{5, 0, true, 4, 8};
    case DType::kQ8_0:
      return BlockType{8, 128, false, 0, 2};
    default:
      return std::nullopt;
  }
}

void ReadBlockCodes(const BlockType& type, const uint8_t* block, uint8_t* codes) {
  const uint8_t* stored = block + type.codes;
  if (type.bits == 8) {
    for (int i = 0; i < 32; ++i) codes[i] = stored[i] ^ 0x80;
    return;
  }
  uint32_t high = 0;
  if (type.high_bits > 0) std::memcpy(&high, block + type.high_bits, sizeof(high));
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<uint8_t>((stored[i] & 15) | ((high >> i) & 1) << 4);
    codes[i + 16] = static_cast<uint8_t>(stored[i] >> 4 | ((high >> (i + 16)) & 1) << 4);
  }
}

}  // namespace

void TiledWeight::AddGroup(int64_t group, int64_t places) {
  const int64_t end = units_ + (places + kUnitColumns - 1) / kUnitColumns;
  while (units_ < end) {
    const int64_t count = std::min(kBlockUnits, end - units_);
    blocks_.push_back(
        {static_cast<int32_t>(units_), static_cast<int32_t>(count), static_cast<int32_t>(group)});
    units_ += count;
  }
}

void TiledWeight::PlanColumns(const std::vector<int32_t>& group_index) {
  std::vector<int32_t> columns(group_index.size());
  std::iota(columns.begin(), columns.end(), 0);
  std::ranges::stable_sort(columns, {}, [&](int32_t c) { return group_index[static_cast<size_t>(c)]; });
  for (size_t first = 0; first < columns.size();) {
    const int32_t group = group_index[static_cast<size_t>(columns[first])];
    size_t end = first;
    while (end < columns.size() && group_index[static_cast<size_t>(columns[end])] == group) ++end;
    AddGroup(group, static_cast<int64_t>(end - first));
    column_order_.insert(column_order_.end(), columns.begin() + static_cast<std::ptrdiff_t>(first),
                         columns.begin() + static_cast<std::ptrdiff_t>(end));
    column_order_.resize(static_cast<size_t>(places()), -1);
    first = end;
  }
  bool in_place = true;
  for (size_t p = 0; p < column_order_.size(); ++p)
    in_place = in_place && column_order_[p] == (p < columns.size() ? static_cast<int32_t>(p) : -1);
  if (in_place) column_order_.clear();
}

void TiledWeight::AllocateCodes() { codes_ = Tensor(DType::kU8, {tiles(), units_, bits_, kLineBytes}); }

void TiledWeight::StoreRow(int64_t row, const uint8_t* codes) {
  const std::array<uint8_t, kUnitColumns> order = UnitOrder(bits_);
  uint8_t* unit = codes_.As<uint8_t>().data() + row / kTileOutputs * tile_bytes();
  uint8_t placed[kUnitColumns];
  for (int64_t first = 0; first < places(); first += kUnitColumns, unit += bits_ * kLineBytes) {
    const uint8_t* in = codes + first;
    if (!column_order_.empty() || first + kUnitColumns > columns_) {
      for (int64_t i = 0; i < kUnitColumns; ++i) {
        const int64_t place = first + i;
        const int64_t column = !column_order_.empty() ? column_order_[static_cast<size_t>(place)]
                               : place < columns_     ? place
                                                      : -1;
        placed[i] = column < 0 ? uint8_t{0} : codes[column];
      }
      in = placed;
    }
    Vectors v;
    for (size_t j = 0; j < v.size(); ++j) {
      const uint8_t* from = order.data() + 4 * j;
      v[j] = uint32_t{in[from[0]]} | uint32_t{in[from[1]]} << 8 | uint32_t{in[from[2]]} << 16 |
             uint32_t{in[from[3]]} << 24;
    }
    StoreUnit(bits_, v, unit, row % kTileOutputs);
  }
}

void TiledWeight::StoreScales(const PackedWeight& weight) {
  scales_ = TileScales(weight.scales, rows_, groups_, weight.scale_type == DType::kF16);
}

void TiledWeight::StoreZeros(const PackedWeight& weight) {
  if (weight.zeros.empty()) return;
  const auto [least, greatest] = std::ranges::minmax(weight.zeros);
  if (least == greatest) {
    zero_ = least_zero_ = greatest_zero_ = least;
  } else if (least >= 0 && greatest <= 255) {
    least_zero_ = least, greatest_zero_ = greatest;
    zeros_ = Tensor(DType::kU8, {tiles(), groups_, kTileOutputs});
    StoreTiles(weight.zeros, rows_, groups_, zeros_.As<uint8_t>().data());
  } else {  // 0 and 256 among 8-bit weights: no byte says both
    std::vector<float> offsets(weight.zeros.size());
    for (size_t i = 0; i < offsets.size(); ++i)
      offsets[i] = -static_cast<float>(weight.zeros[i]) * weight.scales[i];
    scales_ = TileScales(weight.scales, rows_, groups_, false);
    offsets_ = TileScales(offsets, rows_, groups_, false);
  }
}

TiledWeight::TiledWeight(const PackedWeight& weight, ThreadPool* pool)
    : TiledWeight(weight.rows, weight.columns, weight.bits) {
  CHECK(bits_ >= 2 && bits_ <= 8);
  groups_ = weight.groups;
  PlanColumns(weight.group_index);
  AllocateCodes();
  StoreScales(weight);
  StoreZeros(weight);
  ForEach(pool, tiles(), [&](int64_t tile) {
    const int64_t end = std::min(rows_, (tile + 1) * kTileOutputs);
    for (int64_t row = tile * kTileOutputs; row < end; ++row)
      StoreRow(row, weight.codes.data() + row * columns_);
  });
}

std::optional<TiledWeight> TiledWeight::FromBlocks(const TensorView& view,
                                                   const std::vector<int32_t>& row_order, ThreadPool* pool) {
  const std::optional<BlockType> type = BlockTypeOf(view.dtype);
  if (!type) return std::nullopt;
  TiledWeight weight(view.rows(), view.row_elements(), type->bits);
  weight.groups_ = weight.columns_ / kUnitColumns;
  weight.zero_ = weight.least_zero_ = weight.greatest_zero_ = type->zero;
  for (int64_t group = 0; group < weight.groups_; ++group) weight.AddGroup(group, kUnitColumns);
  weight.AllocateCodes();
  const Shape scale_shape{weight.tiles(), weight.groups_, kTileOutputs};
  weight.scales_ = Tensor(DType::kF16, scale_shape);
  if (type->has_offset) weight.offsets_ = Tensor(DType::kF16, scale_shape);
  const int64_t block_bytes = Info(view.dtype).block_bytes;
  ForEach(pool, weight.tiles(), [&](int64_t tile) {
    std::vector<uint8_t> codes(static_cast<size_t>(weight.columns_));
    const int64_t end = std::min(weight.rows_, (tile + 1) * kTileOutputs);
    for (int64_t row = tile * kTileOutputs; row < end; ++row) {
      const int64_t stored = row_order.empty() ? row : row_order[static_cast<size_t>(row)];
      const auto* block = reinterpret_cast<const uint8_t*>(view.data) + stored * weight.groups_ * block_bytes;
      for (int64_t group = 0; group < weight.groups_; ++group, block += block_bytes) {
        ReadBlockCodes(*type, block, codes.data() + group * kUnitColumns);
        const int64_t place = (tile * weight.groups_ + group) * kTileOutputs + row % kTileOutputs;
        std::memcpy(weight.scales_.As<uint16_t>().data() + place, block, 2);
        if (type->has_offset) std::memcpy(weight.offsets_.As<uint16_t>().data() + place, block + 2, 2);
      }
      weight.StoreRow(row, codes.data());
    }
  });
  return weight;
}

int64_t TiledWeight::bytes() const {
  if (shared_) return moved_bytes_;
  return codes_.bytes() + scales_.bytes() + offsets_.bytes() + zeros_.bytes();
}

int64_t TiledWeight::line_bytes() const {
  int64_t bytes = 0;
  for (const Tensor* part : {&codes_, &scales_, &offsets_, &zeros_})
    bytes += RoundUp(part->bytes(), kLineBytes);
  return bytes;
}

void TiledWeight::MoveTo(std::shared_ptr<Tensor> memory, int64_t offset) {
  CHECK(!shared_ && offset % kLineBytes == 0 && offset + line_bytes() <= memory->bytes());
  half_scales_ = scales_.dtype() == DType::kF16;
  moved_bytes_ = bytes();
  const auto move = [&](Tensor& part) {
    if (part.empty()) return int64_t{-1};
    const int64_t place = offset;
    std::memcpy(memory->data() + place, part.data(), static_cast<size_t>(part.bytes()));
    offset += RoundUp(part.bytes(), kLineBytes);
    part = Tensor();
    return place;
  };
  place_.codes = move(codes_);
  place_.scales = move(scales_);
  place_.offsets = move(offsets_);
  place_.zeros = move(zeros_);
  shared_ = std::move(memory);
}

WeightTile TiledWeight::tile(int64_t index) const {
  const auto data = [&](const Tensor& part, int64_t place) -> const std::byte* {
    if (!shared_) return part.data();
    return place < 0 ? nullptr : shared_->data() + place;
  };
  WeightTile tile;
  tile.half = shared_ ? half_scales_ : scales_.dtype() == DType::kF16;
  tile.codes = reinterpret_cast<const uint8_t*>(data(codes_, place_.codes)) + index * tile_bytes();
  const int64_t first = index * groups_ * kTileOutputs, scale_bytes = first * (tile.half ? 2 : 4);
  tile.scales = data(scales_, place_.scales) + scale_bytes;
  const std::byte *offsets = data(offsets_, place_.offsets), *zeros = data(zeros_, place_.zeros);
  if (offsets != nullptr) tile.offsets = offsets + scale_bytes;
  if (zeros != nullptr) tile.zeros = reinterpret_cast<const uint8_t*>(zeros) + first;
  tile.zero = zero_;
  return tile;
}

void TiledWeight::PlaceInputs(const float* x, float* out) const {
  if (column_order_.empty()) {
    std::copy_n(x, columns_, out);
    std::fill(out + columns_, out + places(), 0.0f);
    return;
  }
  for (size_t p = 0; p < column_order_.size(); ++p)
    out[p] = column_order_[p] < 0 ? 0.0f : x[column_order_[p]];
}

bool TiledWeight::TakesInputsOf(const TiledWeight& other) const {
  return bits_ == other.bits_ && columns_ == other.columns_ && blocks_ == other.blocks_ &&
         column_order_ == other.column_order_;
}

void TiledWeight::ReadRows(int64_t first, int64_t count, float* destination) const {
  const std::array<uint8_t, kUnitColumns> order = UnitOrder(bits_);
  for (int64_t row = first; row < first + count; ++row, destination += columns_) {
    const WeightTile tile = this->tile(row / kTileOutputs);
    const int64_t lane = row % kTileOutputs;
    const auto value = [&](const void* values, int64_t index) {
      return tile.half ? HalfToFloat(static_cast<const uint16_t*>(values)[index])
                       : static_cast<const float*>(values)[index];
    };
    for (const ColumnBlock& block : blocks_) {
      const int64_t index = block.group * kTileOutputs + lane;
      const float scale = value(tile.scales, index);
      const float offset = tile.offsets != nullptr ? value(tile.offsets, index) : 0.0f;
      const int32_t zero = tile.zeros != nullptr ? tile.zeros[index] : tile.zero;
      for (int64_t unit = block.first_unit; unit < block.first_unit + block.units; ++unit) {
        const Vectors v = LoadUnit(bits_, tile.codes + unit * bits_ * kLineBytes, lane);
        for (size_t i = 0; i < order.size(); ++i) {
          const int64_t place = unit * kUnitColumns + order[i];
          const int64_t column = column_order_.empty() ? place : column_order_[static_cast<size_t>(place)];
          if (column < 0 || column >= columns_) continue;
          const auto code = static_cast<int32_t>((v[i / 4] >> (8 * (i % 4))) & 255);
          const float product = static_cast<float>(code - zero) * scale;
          destination[column] = tile.offsets != nullptr ? product + offset : product;
        }
      }
    }
  }
}

}  // namespace gptq
