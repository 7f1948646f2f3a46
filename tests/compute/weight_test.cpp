#include "compute/weight.h"

#include <cstring>

#include "base/convert.h"
#include "tests/compute/weights.h"

namespace gptq {
namespace weight_test {

using plain::Random;

TEST(Weight, ReadsRowsOfEveryStorage) {
  for (const Storage storage : kStorages) {
    for (const bool reordered : {false, true}) {
      if (reordered && storage == Storage::kPacked) continue;
      const int64_t rows = 19, columns = 96;
      const StoredWeight stored(storage, rows, columns, reordered, 1);
      ASSERT_EQ(stored.weight.rows(), rows);
      ASSERT_EQ(stored.weight.columns(), columns);
      EXPECT_FALSE(stored.weight.empty());
      for (int64_t first = 0; first <= rows; ++first) {
        for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{5}, rows - first}) {
          if (count < 0 || first + count > rows) continue;
          plain::GuardedFloats out(count * columns);
          stored.weight.ReadRows(first, count, out.data());
          for (int64_t i = 0; i < count * columns; ++i) {
            ASSERT_EQ(out[i], stored.values[first * columns + i]) << ToString(storage) << " row " << first;
          }
          ASSERT_TRUE(out.Intact());
        }
      }
    }
  }
}

TEST(Weight, IsUsedInPlaceOnlyWhereItLiesThere) {
  for (const Storage storage : kStorages) {
    const StoredWeight stored(storage, 4, 32, false, 2);
    const bool in_place = storage == Storage::kFloatView || storage == Storage::kOwned;
    EXPECT_EQ(stored.weight.FloatData() != nullptr, in_place) << ToString(storage);
    if (in_place) {
      EXPECT_EQ(stored.weight.FloatData()[33], stored.values[33]);
    }
    EXPECT_EQ(stored.weight.tiled() != nullptr, storage == Storage::kPacked);
  }
  const StoredWeight reordered(Storage::kFloatView, 4, 32, true, 2);
  EXPECT_EQ(reordered.weight.FloatData(), nullptr);
  std::vector<std::byte> bytes(4 * 8 + 1);
  const TensorView crooked{
      DType::kF32, {2, 4}, bytes.data() + (reinterpret_cast<uintptr_t>(bytes.data()) % 4 == 0 ? 1 : 0)};
  EXPECT_EQ(Weight(crooked).FloatData(), nullptr);
}

// Groups that lie side by side are read group by group, others column by column.
TEST(Weight, PackedRowsInAnyOrderOfGroups) {
  for (const int64_t columns : {1, 7, 8, 9, 20}) {
    for (const bool sequential : {true, false}) {
      PackedWeight packed;
      packed.rows = 3, packed.columns = columns, packed.bits = 8;
      packed.group_size = 8, packed.groups = (columns + 7) / 8;
      for (int64_t i = 0; i < 3 * columns; ++i) packed.codes.push_back(static_cast<uint8_t>(i * 37 % 256));
      for (int64_t i = 0; i < 3 * packed.groups; ++i) {
        packed.scales.push_back(0.25f * static_cast<float>(i + 1));
        packed.zeros.push_back(static_cast<int16_t>(7 * i));
      }
      for (int64_t c = 0; c < columns; ++c)
        packed.group_index.push_back(static_cast<int32_t>(sequential ? c / 8 : (c + 1) % packed.groups));
      const Weight weight(packed);
      std::vector<float> rows(static_cast<size_t>(2 * columns)), row(static_cast<size_t>(columns));
      weight.ReadRows(1, 2, rows.data());
      for (int64_t r = 1; r < 3; ++r) {
        DequantizeRow(packed, r, row.data());
        for (int64_t c = 0; c < columns; ++c) ASSERT_EQ(rows[(r - 1) * columns + c], row[c]);
      }
    }
  }
}

// What was just quantized and what was read from a file become the same.
TEST(Weight, BlocksOfItsOwnAreRelaidLikeThoseOfAFile) {
  ThreadPool pool(2);
  const int64_t rows = 19, columns = 96;
  StoredWeight stored(Storage::kQ8_0, rows, columns, false, 4);
  Tensor copy(DType::kQ8_0, {rows, columns});
  std::memcpy(copy.data(), stored.bytes.data() + stored.offset, static_cast<size_t>(copy.bytes()));
  Weight owned(std::move(copy));
  for (Weight* weight : {&stored.weight, &owned}) {
    weight->Tile(pool);
    ASSERT_NE(weight->tiled(), nullptr);
    std::vector<float> values(static_cast<size_t>(rows * columns));
    weight->ReadRows(0, rows, values.data());
    EXPECT_EQ(values, stored.values);
  }
}

TEST(Weight, OwnedMemorySurvivesAMove) {
  StoredWeight stored(Storage::kOwned, 8, 16, false, 3);
  const float* data = stored.weight.FloatData();
  const Weight moved = std::move(stored.weight);
  EXPECT_EQ(moved.FloatData(), data);
  std::vector<float> row(16);
  moved.ReadRows(7, 1, row.data());
  EXPECT_TRUE(std::equal(row.begin(), row.end(), stored.values.begin() + 7 * 16));
  EXPECT_TRUE(Weight().empty());
}

TEST(WeightDeathTest, RefusesRowsItLacks) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const StoredWeight stored(Storage::kHalf, 4, 32, false, 4);
  std::vector<float> out(5 * 32);
  EXPECT_DEATH(stored.weight.ReadRows(3, 2, out.data()), "CHECK|first");
  EXPECT_DEATH(stored.weight.ReadRows(-1, 1, out.data()), "CHECK|first");
  EXPECT_DEATH(Weight(TensorView{DType::kF32, {2, 2}, nullptr}, {0, 2}), "row");
}

}  // namespace weight_test
}  // namespace gptq
