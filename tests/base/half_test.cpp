// The 16-bit floats, exhaustively where there are few enough values.
#include "base/half.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/convert.h"
#include "tests/test_util.h"

namespace gptq {
namespace half_test {

bool IsNanHalf(uint16_t bits) { return (bits & 0x7fff) > 0x7c00; }

// From the definition: sign, 5 exponent bits, 10 fraction bits.
double HalfByDefinition(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const double fraction = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

TEST(Half, EveryValueIsAsDefined) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (IsNanHalf(half)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_TRUE(IsNanHalf(FloatToHalf(value))) << bits;
      continue;
    }
    ASSERT_EQ(static_cast<double>(value), HalfByDefinition(half)) << bits;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
    ASSERT_EQ(FloatToHalf(value), half) << bits;
  }
}

// Between neighbours a and b: below the midpoint a, above it b, at it the even one.
TEST(Half, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const float low = HalfToFloat(static_cast<uint16_t>(bits));
    const float high = HalfToFloat(static_cast<uint16_t>(bits + 1));
    const float middle = (low + high) / 2;  // exact: float has 13 bits more
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, INFINITY)), bits + 1);
    ASSERT_EQ(FloatToHalf(middle), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(FloatToHalf(-middle), 0x8000u + (bits % 2 == 0 ? bits : bits + 1));
  }
  EXPECT_EQ(FloatToHalf(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::max()), 0x7c00);
  EXPECT_EQ(FloatToHalf(-INFINITY), 0xfc00);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(BFloat16, EveryValueAndEveryMidpoint) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto stored = static_cast<uint16_t>(bits);
    const float value = BFloat16ToFloat(stored);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(value)))) << bits;
      continue;
    }
    ASSERT_EQ(FloatToBFloat16(value), stored) << bits;
    if ((bits & 0x7fff) >= 0x7f80) continue;  // infinite
    const auto middle = std::bit_cast<float>(bits << 16 | 0x8000u);
    ASSERT_EQ(FloatToBFloat16(middle), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(FloatToBFloat16(std::bit_cast<float>(bits << 16 | 0x7fffu)), bits);
    ASSERT_EQ(FloatToBFloat16(std::bit_cast<float>(bits << 16 | 0x8001u)), bits + 1);
  }
  EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(std::bit_cast<float>(0x7f800001u)))));
}

// The loops for whole tensors, fast and portable, on every half and on floats that stress each branch.
TEST(Half, BulkLoopsEqualTheScalarConversion) {
  std::vector<uint16_t> halves(65536 + 5);  // 5: a tail after groups of eight
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> fast(halves.size()), portable(halves.size());
  const auto* source = reinterpret_cast<const std::byte*>(halves.data());
  ToFloat(DType::kF16, source, std::ssize(halves), fast.data());
  ToFloatPortable(DType::kF16, source, std::ssize(halves), portable.data());
  for (size_t i = 0; i < halves.size(); ++i) {
    if (IsNanHalf(halves[i])) {
      EXPECT_TRUE(std::isnan(fast[i]) && std::isnan(portable[i])) << i;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(fast[i]), std::bit_cast<uint32_t>(HalfToFloat(halves[i]))) << i;
      ASSERT_EQ(std::bit_cast<uint32_t>(portable[i]), std::bit_cast<uint32_t>(fast[i])) << i;
    }
  }
}

TEST(Half, BulkRoundingEqualsTheScalarConversion) {
  std::mt19937 random(1);
  std::vector<float> values;
  for (int i = 0; i < 200003; ++i) values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const float low = HalfToFloat(static_cast<uint16_t>(bits));
    values.push_back((low + HalfToFloat(static_cast<uint16_t>(bits + 1))) / 2);
  }
  for (DType dtype : {DType::kF16, DType::kBF16}) {
    std::vector<uint16_t> fast(values.size()), portable(values.size());
    FromFloat(values.data(), std::ssize(values), dtype, reinterpret_cast<std::byte*>(fast.data()));
    FromFloatPortable(values.data(), std::ssize(values), dtype,
                      reinterpret_cast<std::byte*>(portable.data()));
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::isnan(values[i])) continue;
      const uint16_t expected = dtype == DType::kF16 ? FloatToHalf(values[i]) : FloatToBFloat16(values[i]);
      ASSERT_EQ(fast[i], expected) << values[i];
      ASSERT_EQ(portable[i], expected) << values[i];
    }
  }
}

}  // namespace half_test
}  // namespace gptq
