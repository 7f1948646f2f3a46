// The small words everyone speaks: element types, tensors, errors, packed weights.
#include <cstring>
#include <set>

#include "base/dtype.h"
#include "base/packed_weight.h"
#include "base/tensor.h"
#include "tests/test_util.h"

namespace gptq {
namespace base_types_test {

constexpr DType kAll[] = {DType::kF64,  DType::kF32,  DType::kF16,  DType::kBF16, DType::kI64,
                          DType::kI32,  DType::kI16,  DType::kI8,   DType::kU8,   DType::kBool,
                          DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                          DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

TEST(DTypes, NamesAreDistinctAndFoundAgain) {
  std::set<std::string_view> names;
  for (DType dtype : kAll) {
    EXPECT_EQ(Info(dtype).dtype, dtype);
    EXPECT_EQ(DTypeFromName(Name(dtype)), dtype);
    EXPECT_TRUE(names.insert(Name(dtype)).second);
  }
  EXPECT_FALSE(DTypeFromName("F8_E4M3"));
  EXPECT_FALSE(DTypeFromName(""));
}

TEST(DTypes, BitsPerWeightAreThePublishedOnes) {
  const auto bits = [](DType dtype) { return 8.0 * static_cast<double>(ByteSize(dtype, 256)) / 256; };
  EXPECT_EQ(bits(DType::kF16), 16);
  EXPECT_EQ(bits(DType::kQ4_0), 4.5);
  EXPECT_EQ(bits(DType::kQ4_1), 5.0);
  EXPECT_EQ(bits(DType::kQ5_0), 5.5);
  EXPECT_EQ(bits(DType::kQ5_1), 6.0);
  EXPECT_EQ(bits(DType::kQ8_0), 8.5);
  EXPECT_EQ(bits(DType::kQ2_K), 2.625);
  EXPECT_EQ(bits(DType::kQ3_K), 3.4375);
  EXPECT_EQ(bits(DType::kQ4_K), 4.5);
  EXPECT_EQ(bits(DType::kQ5_K), 5.5);
  EXPECT_EQ(bits(DType::kQ6_K), 6.5625);
}

TEST(Tensors, AreZeroAlignedAndMovable) {
  Tensor tensor(DType::kF32, {3, 5});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data()) % 64, 0u);
  for (float value : tensor.As<float>()) EXPECT_EQ(value, 0.0f);
  tensor.As<float>()[14] = 2;
  const Tensor moved = std::move(tensor);
  EXPECT_EQ(moved.As<float>()[14], 2.0f);
  EXPECT_EQ(moved.view().rows(), 3);
  EXPECT_EQ(moved.view().row_elements(), 5);
  EXPECT_EQ(moved.bytes(), 60);
  EXPECT_EQ(ToString(moved.shape()), "[3, 5]");
  EXPECT_EQ(ToString({}), "[]");
  EXPECT_TRUE(Tensor(DType::kF32, {0, 5}).empty());
  EXPECT_EQ(TensorView{}.elements(), 1);
}

TEST(Tensors, CheckTheType) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const Tensor tensor(DType::kF16, {4});
  EXPECT_EQ(tensor.As<uint16_t>().size(), 4u);
  EXPECT_DEATH(tensor.As<float>(), "CHECK");
  EXPECT_DEATH((TensorView{DType::kF32, {1}, tensor.data() + 1}.As<float>()), "CHECK");
}

TEST(Errors, AreOnePrintableLine) {
  EXPECT_STREQ(Error("what", "where", "what to do").what(), "what, where, what to do");
  EXPECT_STREQ(Error("what", "", "").what(), "what");
  EXPECT_STREQ(Error("a\nb\x1b[31m", "\x7f", "c\td").what(), "a?b?[31m, ?, c?d");
  EXPECT_STREQ(Error("größer", "", "").what(), "größer");
  EXPECT_EQ(Concat("a", 1, 2.5, std::string("b")), "a12.5b");
}

TEST(PackedWeights, DequantizeByTheirGroups) {
  PackedWeight weight;
  weight.rows = 2;
  weight.columns = 4;
  weight.groups = 2;
  weight.group_size = 2;
  weight.codes = {0, 1, 2, 3, 4, 5, 6, 7};
  weight.scales = {1, 10, 100, 1000};
  weight.zeros = {0, 1, 2, 8};
  weight.group_index = {0, 0, 1, 1};
  float row[4];
  DequantizeRow(weight, 0, row);
  EXPECT_THAT(row, ::testing::ElementsAre(0.0f, 1.0f, 10.0f, 20.0f));
  DequantizeRow(weight, 1, row);
  EXPECT_THAT(row, ::testing::ElementsAre(200.0f, 300.0f, -2000.0f, -1000.0f));
  EXPECT_TRUE(weight.SequentialGroups());
  weight.group_index = {1, 0, 1, 0};
  EXPECT_FALSE(weight.SequentialGroups());
  DequantizeRow(weight, 0, row);
  EXPECT_THAT(row, ::testing::ElementsAre(-10.0f, 1.0f, 10.0f, 3.0f));
}

}  // namespace base_types_test
}  // namespace gptq
