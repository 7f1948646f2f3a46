#include "base/convert.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "tests/test_util.h"

namespace gptq {
namespace convert_test {

template <typename Stored>
std::vector<float> Converted(DType dtype, const std::vector<Stored>& values) {
  // One byte off, so that unaligned reads are exercised.
  alignas(8) std::byte bytes[64];
  CHECK(values.size() * sizeof(Stored) < sizeof(bytes));
  for (size_t i = 0; i < values.size(); ++i)
    std::memcpy(bytes + 1 + i * sizeof(Stored), &values[i], sizeof(Stored));
  std::vector<float> result(values.size());
  ToFloat(dtype, bytes + 1, std::ssize(values), result.data());
  return result;
}

TEST(Convert, PlainTypesByValue) {
  using ::testing::ElementsAre;
  EXPECT_THAT(Converted<double>(DType::kF64, {0.1, -2.0, 1e300}), ElementsAre(0.1f, -2.0f, INFINITY));
  EXPECT_THAT(Converted<float>(DType::kF32, {0.1f, -2.0f}), ElementsAre(0.1f, -2.0f));
  EXPECT_THAT(Converted<int64_t>(DType::kI64, {-3, int64_t{1} << 40}), ElementsAre(-3.0f, 0x1p40f));
  EXPECT_THAT(Converted<int32_t>(DType::kI32, {-3, 1 << 30}), ElementsAre(-3.0f, 0x1p30f));
  EXPECT_THAT(Converted<int16_t>(DType::kI16, {-32768, 32767}), ElementsAre(-32768.0f, 32767.0f));
  EXPECT_THAT(Converted<int8_t>(DType::kI8, {-128, 127}), ElementsAre(-128.0f, 127.0f));
  EXPECT_THAT(Converted<uint8_t>(DType::kU8, {0, 255}), ElementsAre(0.0f, 255.0f));
  EXPECT_THAT(Converted<uint8_t>(DType::kBool, {0, 1, 7}), ElementsAre(0.0f, 1.0f, 1.0f));
  EXPECT_THAT(Converted<uint16_t>(DType::kF16, {0x3c00, 0xc000}), ElementsAre(1.0f, -2.0f));
  EXPECT_THAT(Converted<uint16_t>(DType::kBF16, {0x3f80, 0xc000}), ElementsAre(1.0f, -2.0f));
}

TEST(Convert, TensorsKeepTheirShape) {
  Tensor values(DType::kF32, {2, 3});
  for (size_t i = 0; i < 6; ++i) values.As<float>()[i] = static_cast<float>(i) / 3;
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Tensor stored = FromFloat(values, dtype);
    EXPECT_EQ(stored.dtype(), dtype);
    const Tensor back = ToFloat(stored.view());
    EXPECT_EQ(back.shape(), (Shape{2, 3}));
    for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(back.As<float>()[i], values.As<float>()[i], 0.01);
  }
  EXPECT_EQ(ToFloat(Tensor(DType::kF16, {0, 4}).view()).elements(), 0);
  EXPECT_EQ(ToFloat(TensorView{DType::kF32, {}, values.data()}).elements(), 1);
}

// Q4_0 by hand: scale 0.5, byte j = (15 - j) << 4 | j.
TEST(Convert, BlockOfFourBits) {
  std::vector<uint8_t> block = {0x00, 0x38};
  for (int j = 0; j < 16; ++j) block.push_back(static_cast<uint8_t>((15 - j) << 4 | j));
  std::vector<float> values(32);
  ToFloat(DType::kQ4_0, reinterpret_cast<const std::byte*>(block.data()), 32, values.data());
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(values[static_cast<size_t>(j)], 0.5f * static_cast<float>(j - 8));
    EXPECT_EQ(values[static_cast<size_t>(j + 16)], 0.5f * static_cast<float>(7 - j));
  }
}

// Random blocks of every type: the loops for this processor against the portable ones, bit by bit.
TEST(Convert, FastLoopsEqualPortableOnes) {
  std::mt19937 random(2);
  for (DType dtype : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K,
                      DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    const int64_t elements = Info(dtype).block_elements * 50;
    std::vector<std::byte> bytes(static_cast<size_t>(ByteSize(dtype, elements)) + 1);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    std::vector<float> fast(static_cast<size_t>(elements)), portable(static_cast<size_t>(elements));
    ToFloat(dtype, bytes.data() + 1, elements, fast.data());
    ToFloatPortable(dtype, bytes.data() + 1, elements, portable.data());
    for (size_t i = 0; i < fast.size(); ++i) {
      if (std::isnan(fast[i]) && std::isnan(portable[i])) continue;
      ASSERT_EQ(fast[i], portable[i]) << Name(dtype) << " element " << i;
    }
  }
}

}  // namespace convert_test
}  // namespace gptq
