#include "compute/tiled_weight.h"

#include <algorithm>
#include <bit>
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

using UnitOrder = std::array<uint8_t, kUnitColumns>;

// The column of each byte of a lane, vector by vector, with 2 to 8 bits.
constexpr std::array<UnitOrder, 7> kUnitOrders = [] {
  std::array<UnitOrder, 7> orders{};
  for (int bits = 2; bits <= 8; ++bits) {
    for (int64_t j = 0; j < kUnitVectors; ++j) {
      for (int64_t b = 0; b < 4; ++b)
        orders[static_cast<size_t>(bits - 2)][static_cast<size_t>(j * 4 + b)] =
            static_cast<uint8_t>(UnitColumn(bits, j, b));
    }
  }
  return orders;
}();

const UnitOrder& OrderOf(int bits) { return kUnitOrders[static_cast<size_t>(bits - 2)]; }

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

// Whether a group's sub-scale and sub-offset fit one byte.
bool InHalfBytes(const GgufBlockType& type) {
  return type.minima && type.super() && type.greatest_scale < 16;
}

// Of one group and output, by the same float32 operations as dequantization.
class Grid {
 public:
  Grid(const WeightTile& tile, int32_t zero, int64_t group, int64_t lane)
      : has_offset_(tile.offsets != nullptr) {
    const int64_t index = group * kTileOutputs + lane;
    const int64_t scale_index = (group >> tile.super_shift) * kTileOutputs + lane;
    const auto value = [&](const void* values) {
      return tile.half ? HalfToFloat(static_cast<const uint16_t*>(values)[scale_index])
                       : static_cast<const float*>(values)[scale_index];
    };
    scale_ = value(tile.scales);
    if (has_offset_) offset_ = value(tile.offsets);
    zero_ = tile.zeros != nullptr ? tile.zeros[index] : zero;
    if (tile.sub_scales == nullptr) return;
    const bool both = has_offset_ && tile.sub_offsets == nullptr;
    const int scale = tile.sub_scales[index];
    scale_ *= static_cast<float>(both ? scale & 15 : scale);
    if (has_offset_) offset_ *= static_cast<float>(both ? scale >> 4 & 15 : tile.sub_offsets[index]);
  }
  // Of 16 codes.
  void Values(const uint8_t* codes, float* values) const {
    for (int i = 0; i < 16; ++i) values[i] = static_cast<float>(codes[i] - zero_) * scale_;
    for (int i = 0; i < (has_offset_ ? 16 : 0); ++i) values[i] += offset_;
  }

 private:
  bool has_offset_;
  int32_t zero_;
  float scale_, offset_ = 0;
};

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

void TiledWeight::AllocateCodes() {
  parts_[kCodes] = Tensor(DType::kU8, {tiles(), units_, bits_, kLineBytes});
}

void TiledWeight::StoreRow(int64_t row, const uint8_t* codes) {
  const UnitOrder& order = OrderOf(bits_);
  uint8_t* unit = parts_[kCodes].As<uint8_t>().data() + row / kTileOutputs * tile_bytes();
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
  half_scales_ = weight.scale_type == DType::kF16;
  parts_[kScales] = TileScales(weight.scales, rows_, groups_, half_scales_);
}

void TiledWeight::StoreZeros(const PackedWeight& weight) {
  if (weight.zeros.empty()) return;
  const auto [least, greatest] = std::ranges::minmax(weight.zeros);
  if (least == greatest) {
    zero_ = least_zero_ = greatest_zero_ = least;
  } else if (least >= 0 && greatest <= 255) {
    least_zero_ = least, greatest_zero_ = greatest;
    parts_[kZeros] = Tensor(DType::kU8, {tiles(), groups_, kTileOutputs});
    StoreTiles(weight.zeros, rows_, groups_, parts_[kZeros].As<uint8_t>().data());
  } else {  // 0 and 256 among 8-bit weights: no byte says both
    std::vector<float> offsets(weight.zeros.size());
    for (size_t i = 0; i < offsets.size(); ++i)
      offsets[i] = -static_cast<float>(weight.zeros[i]) * weight.scales[i];
    half_scales_ = false;
    parts_[kScales] = TileScales(weight.scales, rows_, groups_, false);
    parts_[kOffsets] = TileScales(offsets, rows_, groups_, false);
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

void TiledWeight::PlanBlocks(const GgufBlockType& type) {
  groups_ = columns_ / type.group_columns;
  zero_ = least_zero_ = greatest_zero_ = type.middle();
  unit_groups_ = kUnitColumns / type.group_columns;
  super_groups_ = type.groups();
  for (int64_t group = 0; group < groups_; group += unit_groups_) AddGroup(group, kUnitColumns);
  AllocateCodes();
  const Shape scales{tiles(), groups_ / super_groups_, kTileOutputs},
      sub_scales{tiles(), groups_, kTileOutputs};
  parts_[kScales] = Tensor(DType::kF16, scales);
  if (type.minima) parts_[kOffsets] = Tensor(DType::kF16, scales);
  if (!type.super()) return;
  parts_[kSubScales] = Tensor(DType::kI8, sub_scales);
  if (type.minima && !InHalfBytes(type)) parts_[kSubOffsets] = Tensor(DType::kI8, sub_scales);
}

void TiledWeight::StoreBlockScales(const GgufBlockType& type, const GgufBlockGrid& grid, int64_t row,
                                   int64_t block) {
  const int64_t tile = row / kTileOutputs, lane = row % kTileOutputs;
  const int64_t place = (tile * (groups_ / super_groups_) + block) * kTileOutputs + lane;
  parts_[kScales].As<uint16_t>()[place] = FloatToHalf(grid.scale);
  if (type.minima)  // those of super-blocks count downwards
    parts_[kOffsets].As<uint16_t>()[place] = FloatToHalf(type.super() ? -grid.minimum : grid.minimum);
  for (int64_t g = 0; type.super() && g < super_groups_; ++g) {
    const int64_t sub_place = (tile * groups_ + block * super_groups_ + g) * kTileOutputs + lane;
    const int scale = grid.scales[g], minimum = grid.minima[g];
    parts_[kSubScales].As<int8_t>()[sub_place] =
        static_cast<int8_t>(InHalfBytes(type) ? scale | minimum << 4 : scale);
    if (!parts_[kSubOffsets].empty())
      parts_[kSubOffsets].As<int8_t>()[sub_place] = static_cast<int8_t>(minimum);
  }
}

std::optional<TiledWeight> TiledWeight::FromBlocks(const TensorView& view,
                                                   const std::vector<int32_t>& row_order, ThreadPool* pool) {
  const GgufBlockType* type = FindGgufBlockType(view.dtype);
  if (type == nullptr) return std::nullopt;
  TiledWeight weight(view.rows(), view.row_elements(), type->bits);
  weight.PlanBlocks(*type);
  const int64_t blocks = weight.columns_ / type->columns, block_bytes = Info(view.dtype).block_bytes;
  ForEach(pool, weight.tiles(), [&](int64_t tile) {
    std::vector<uint8_t> codes(static_cast<size_t>(weight.columns_));
    const int64_t end = std::min(weight.rows_, (tile + 1) * kTileOutputs);
    for (int64_t row = tile * kTileOutputs; row < end; ++row) {
      const int64_t stored = row_order.empty() ? row : row_order[static_cast<size_t>(row)];
      const std::byte* from = view.data + stored * blocks * block_bytes;
      for (int64_t block = 0; block < blocks; ++block, from += block_bytes) {
        const GgufBlockGrid grid = DecodeGgufBlock(*type, from, codes.data() + block * type->columns);
        weight.StoreBlockScales(*type, grid, row, block);
      }
      weight.StoreRow(row, codes.data());
    }
  });
  return weight;
}

int64_t TiledWeight::bytes() const {
  if (shared_) return moved_bytes_;
  int64_t bytes = 0;
  for (const Tensor& part : parts_) bytes += part.bytes();
  return bytes;
}

int64_t TiledWeight::line_bytes() const {
  int64_t bytes = 0;
  for (const Tensor& part : parts_) bytes += RoundUp(part.bytes(), kLineBytes);
  return bytes;
}

void TiledWeight::MoveTo(std::shared_ptr<Tensor> memory, int64_t offset) {
  CHECK(!shared_ && offset % kLineBytes == 0 && offset + line_bytes() <= memory->bytes());
  moved_bytes_ = bytes();
  for (size_t p = 0; p < parts_.size(); ++p) {
    Tensor& part = parts_[p];
    places_[p] = part.empty() ? -1 : offset;
    if (part.empty()) continue;
    std::memcpy(memory->data() + offset, part.data(), static_cast<size_t>(part.bytes()));
    offset += RoundUp(part.bytes(), kLineBytes);
    part = Tensor();
  }
  shared_ = std::move(memory);
}

const std::byte* TiledWeight::Part(int part) const {
  if (!shared_) return parts_[static_cast<size_t>(part)].data();
  const int64_t place = places_[static_cast<size_t>(part)];
  return place < 0 ? nullptr : shared_->data() + place;
}

WeightTile TiledWeight::tile(int64_t index) const {
  const auto at = [&]<typename Value>(Value*& pointer, int part, int64_t offset) {
    const std::byte* data = Part(part);
    if (data != nullptr) pointer = reinterpret_cast<Value*>(data + offset);
  };
  const int64_t groups = index * groups_ * kTileOutputs;
  const int64_t scale_bytes = groups / super_groups_ * (half_scales_ ? 2 : 4);
  WeightTile tile;
  at(tile.codes, kCodes, index * tile_bytes());
  at(tile.scales, kScales, scale_bytes);
  at(tile.offsets, kOffsets, scale_bytes);
  at(tile.zeros, kZeros, groups);
  at(tile.sub_scales, kSubScales, groups);
  at(tile.sub_offsets, kSubOffsets, groups);
  tile.super_shift = std::countr_zero(static_cast<uint64_t>(super_groups_));
  tile.half = half_scales_;
  return tile;
}

InputForm TiledWeight::input_form(int planes) const {
  InputForm form{bits_, planes, blocks_.data(), static_cast<int64_t>(blocks_.size()), unit_groups_, 1, zero_};
  if (Part(kZeros) != nullptr) form.zero = 1;
  // With 8 bits one scale for a super-block, as in llama.cpp.
  if (planes == 1 && super_groups_ > 1) form.blocks_together = super_groups_ / unit_groups_;
  return form;
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
         unit_groups_ == other.unit_groups_ && super_groups_ == other.super_groups_ &&
         input_form(1).zero == other.input_form(1).zero && column_order_ == other.column_order_;
}

void TiledWeight::ReadRows(int64_t first, int64_t count, float* destination) const {
  const UnitOrder& order = OrderOf(bits_);
  const bool in_place = InputsInPlace();
  for (int64_t row = first; row < first + count; ++row, destination += columns_) {
    const WeightTile tile = this->tile(row / kTileOutputs);
    const int64_t lane = row % kTileOutputs;
    for (const ColumnBlock& block : blocks_) {
      for (int64_t unit = block.first_unit; unit < block.first_unit + block.units; ++unit) {
        const Vectors v = LoadUnit(bits_, tile.codes + unit * bits_ * kLineBytes, lane);
        uint8_t codes[kUnitColumns];
        for (size_t i = 0; i < order.size(); ++i)
          codes[order[i]] = static_cast<uint8_t>(v[i / 4] >> (8 * (i % 4)));
        float values[kUnitColumns];
        for (int64_t half = 0; half < 2; ++half) {
          const Grid grid(tile, zero_, block.group + half * (unit_groups_ - 1), lane);
          grid.Values(codes + half * 16, values + half * 16);
        }
        const int64_t first_place = unit * kUnitColumns;
        if (in_place) {
          std::copy_n(values, kUnitColumns, destination + first_place);
          continue;
        }
        for (int64_t i = 0; i < kUnitColumns; ++i) {
          const int64_t place = first_place + i;
          const int64_t column = column_order_.empty() ? place : column_order_[static_cast<size_t>(place)];
          if (column >= 0 && column < columns_) destination[column] = values[i];
        }
      }
    }
  }
}

}  // namespace gptq
