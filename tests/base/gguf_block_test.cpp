#include "base/gguf_block.h"

#include <algorithm>
#include <random>

#include "base/convert.h"
#include "tests/test_util.h"

namespace gptq {
namespace gguf_block_test {

constexpr DType kAllTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                               DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

float ValueOf(const GgufBlockType& type, const GgufBlockGrid& grid, const uint8_t* codes, int64_t c) {
  const int64_t g = c / type.group_columns;
  return grid.GroupScale(type, g) * static_cast<float>(codes[c] - type.middle()) + grid.GroupMinimum(type, g);
}

TEST(GgufBlock, EncodesWhatItSays) {
  std::mt19937 generator(1);
  for (const DType dtype : kAllTypes) {
    const GgufBlockType& type = *FindGgufBlockType(dtype);
    for (int repeat = 0; repeat < 50; ++repeat) {
      GgufBlockGrid grid;
      grid.scale = static_cast<float>(static_cast<int>(generator() % 2001) - 1000) / 1024;
      if (type.minima) grid.minimum = static_cast<float>(generator() % 1000) / 512;
      for (int64_t g = 0; type.super() && g < type.groups(); ++g) {
        const int count = type.greatest_scale - type.least_scale + 1;
        grid.scales[g] = static_cast<int16_t>(type.least_scale + static_cast<int>(generator() % count));
        if (type.minima) grid.minima[g] = static_cast<int16_t>(generator() % (type.greatest_scale + 1));
      }
      uint8_t codes[kMostBlockColumns], read[kMostBlockColumns];
      for (int64_t c = 0; c < type.columns; ++c)
        codes[c] = static_cast<uint8_t>(generator() % (type.maximum_code() + 1));
      std::vector<std::byte> block(static_cast<size_t>(ByteSize(dtype, type.columns)));
      EncodeGgufBlock(type, grid, codes, block.data());

      float values[kMostBlockColumns];
      ToFloat(dtype, block.data(), type.columns, values);  // as ggml-quants.c defines them
      for (int64_t c = 0; c < type.columns; ++c)
        ASSERT_EQ(values[c], ValueOf(type, grid, codes, c)) << Name(dtype) << " " << c;

      const GgufBlockGrid again = DecodeGgufBlock(type, block.data(), read);
      EXPECT_EQ(again.scale, grid.scale);
      EXPECT_EQ(again.minimum, grid.minimum);
      EXPECT_EQ(again.scales, grid.scales) << Name(dtype);
      EXPECT_EQ(again.minima, grid.minima) << Name(dtype);
      EXPECT_TRUE(std::equal(codes, codes + type.columns, read)) << Name(dtype);
    }
  }
}

TEST(GgufBlock, FindsTypesByName) {
  EXPECT_EQ(GgufTypeFromName("q4_k"), DType::kQ4_K);
  EXPECT_EQ(GgufTypeFromName("q8_0"), DType::kQ8_0);
  EXPECT_EQ(GgufTypeFromName("f16"), std::nullopt);
  EXPECT_EQ(GgufTypeFromName("q9_0"), std::nullopt);
}

TEST(GgufBlock, FallsBackToTypesThatFit) {
  EXPECT_EQ(FittingGgufType(DType::kQ4_K, 512), DType::kQ4_K);
  EXPECT_EQ(FittingGgufType(DType::kQ4_K, 576), DType::kQ5_0);
  EXPECT_EQ(FittingGgufType(DType::kQ3_K, 576), DType::kQ4_0);
  EXPECT_EQ(FittingGgufType(DType::kQ6_K, 576), DType::kQ8_0);
  EXPECT_EQ(FittingGgufType(DType::kQ4_K, 172), DType::kF16);
}

}  // namespace gguf_block_test
}  // namespace gptq
