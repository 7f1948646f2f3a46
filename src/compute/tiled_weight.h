// A quantized matrix re-laid for the kernels, once, when it is loaded; the only form that stays in memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/gguf_block.h"
#include "base/packed_weight.h"
#include "base/tensor.h"
#include "base/thread_pool.h"
#include "compute/cpu/packed_kernels.h"
#include "compute/tile_layout.h"

namespace gptq {

// [rows, columns]. Groups are cut into blocks of at most 4 units. Where groups do not follow each other in
// whole units (activation order, odd sizes) the columns are sorted by group, and each group is filled up to
// whole units.
class TiledWeight {
 public:
  // `pool`: shares the work.
  explicit TiledWeight(const PackedWeight& weight, ThreadPool* pool = nullptr);
  // A GGUF matrix of one of the types of FindGgufBlockType; nullopt for others. `row_order` as in Weight.
  static std::optional<TiledWeight> FromBlocks(const TensorView& view, const std::vector<int32_t>& row_order,
                                               ThreadPool* pool = nullptr);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int bits() const { return bits_; }
  int64_t tiles() const { return (rows_ + kTileOutputs - 1) / kTileOutputs; }
  int64_t places() const { return units_ * kUnitColumns; }  // columns, filled up
  // Inputs as the kernels want them for this matrix. Refers to it.
  InputForm input_form(int planes) const;
  WeightTile tile(int64_t index) const;
  int64_t units() const { return units_; }
  int64_t groups() const { return groups_; }
  const std::vector<ColumnBlock>& blocks() const { return blocks_; }
  const std::vector<int32_t>& column_order() const { return column_order_; }
  // Whether a weight is (code - zero) * scale and a unit has one scale. The parts of all tiles then lie from
  // where those of tile 0 begin.
  bool PlainGrids() const {
    return unit_groups_ == 1 && super_groups_ == 1 && Part(kOffsets) == nullptr &&
           Part(kSubScales) == nullptr;
  }
  bool half_scales() const { return half_scales_; }
  int32_t common_zero() const { return zero_; }
  int64_t tile_bytes() const { return units_ * bits_ * kLineBytes; }  // codes alone
  int64_t bytes() const;
  // What MoveTo takes: whole lines.
  int64_t line_bytes() const;
  // From now on lies in `memory` (of type U8) from `offset`, a multiple of kLineBytes.
  void MoveTo(std::shared_ptr<Tensor> memory, int64_t offset);
  // x [columns] as it lies in the places; `out` [places].
  void PlaceInputs(const float* x, float* out) const;
  bool InputsInPlace() const { return column_order_.empty() && places() == columns_; }
  // Inputs packed for one fit the other.
  bool TakesInputsOf(const TiledWeight& other) const;
  // For PackedKernels::multiply_many.
  bool FitsSignedBytes() const {
    return unit_groups_ == 1 && least_zero_ >= (1 << bits_) - 128 && greatest_zero_ <= 128;
  }
  // As Weight::ReadRows; the same float32 operations as DequantizeRows.
  void ReadRows(int64_t first, int64_t count, float* destination) const;

 private:
  TiledWeight(int64_t rows, int64_t columns, int bits) : rows_(rows), columns_(columns), bits_(bits) {}
  void PlanColumns(const std::vector<int32_t>& group_index);
  void AddGroup(int64_t group, int64_t places);
  void AllocateCodes();
  void StoreRow(int64_t row, const uint8_t* codes);  // [columns]
  void StoreScales(const PackedWeight& weight);
  void StoreZeros(const PackedWeight& weight);
  void PlanBlocks(const GgufBlockType& type);
  void StoreBlockScales(const GgufBlockType& type, const GgufBlockGrid& grid, int64_t row, int64_t block);
  const std::byte* Part(int part) const;

  int64_t rows_ = 0, columns_ = 0, groups_ = 0, units_ = 0;
  int bits_ = 4;
  int32_t zero_ = 0;                            // of all weights, where part kZeros is empty
  int32_t least_zero_ = 0, greatest_zero_ = 0;  // of all groups
  std::vector<ColumnBlock> blocks_;
  std::vector<int32_t> column_order_;  // column of each place, or -1; empty: place = column
  int64_t unit_groups_ = 1;            // groups in a unit, where that is more than one
  int64_t super_groups_ = 1;           // groups in a super-block
  bool half_scales_ = true;
  // U8 [tiles, units, bits, 64]; F16 or F32 [tiles, groups or super-blocks, 16], offsets may be empty; U8 or
  // I8 [tiles, groups, 16], may be empty.
  enum { kCodes, kScales, kOffsets, kZeros, kSubScales, kSubOffsets, kParts };
  std::array<Tensor, kParts> parts_;
  std::shared_ptr<Tensor> shared_;        // where they lie after MoveTo; then they are empty
  std::array<int64_t, kParts> places_{};  // where in it, -1: absent
  int64_t moved_bytes_ = 0;
};

}  // namespace gptq
