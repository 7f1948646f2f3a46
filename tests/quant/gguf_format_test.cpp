#include "quant/gguf_format.h"

#include <cmath>

#include "base/convert.h"
#include "tests/quant/packed_weights.h"

namespace gptq {
namespace gguf_format_test {

GgufCandidate CandidateOf(const PackedWeight& weight) {
  return {weight.bits,       weight.symmetric,          weight.columns,
          weight.group_size, weight.SequentialGroups(), weight.scale_type};
}

PackedWeight Weight(int bits, int64_t columns, int64_t group_size, bool symmetric) {
  PackedWeight weight = SequentialWeight(24, columns, bits, group_size, symmetric);
  for (size_t i = 0; i < weight.scales.size(); i += 3) weight.scales[i] *= -1;  // full-range grids have them
  return weight;
}

// The codes lie in the blocks: their values are those of the codes.
TEST(GgufFormat, KeepsEveryCode) {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {true, false}) {
      for (const int64_t group : {32, 64, 96, 256, -1}) {
        for (const int64_t columns : {192, 512}) {
          const PackedWeight weight = Weight(bits, columns, group, symmetric);
          const GgufChoice choice = ChooseGgufType(CandidateOf(weight));
          if (bits == 8 && !symmetric) {
            EXPECT_FALSE(choice.type);
            continue;
          }
          ASSERT_TRUE(choice.type) << bits << " " << choice.reason;
          const Tensor blocks = ToGgufBlocks(weight, *choice.type, "test");
          const Tensor values = ToFloat(blocks.view());
          std::vector<float> row(static_cast<size_t>(columns));
          for (int64_t r = 0; r < weight.rows; ++r) {
            DequantizeRow(weight, r, row.data());
            for (int64_t c = 0; c < columns; ++c) {
              const float scale = weight.scales[r * weight.groups + weight.group_index[c]];
              // A minimum is off by at most 2^-11 of its size, which is under 2^bits steps.
              const float tolerance = choice.exact ? 0 : std::abs(scale) * std::ldexp(1.0f, bits - 11);
              ASSERT_LE(std::abs(values.As<float>()[r * columns + c] - row[c]), tolerance)
                  << Name(*choice.type) << " bits " << bits << " group " << group;
            }
          }
        }
      }
    }
  }
}

TEST(GgufFormat, TakesTheSmallestType) {
  const auto type = [](int bits, bool symmetric, int64_t columns, int64_t group) {
    return *ChooseGgufType({bits, symmetric, columns, group, true, DType::kF16}).type;
  };
  EXPECT_EQ(type(4, true, 576, 64), DType::kQ4_0);
  EXPECT_EQ(type(4, false, 576, 64), DType::kQ4_1);
  EXPECT_EQ(type(5, true, 576, 32), DType::kQ5_0);
  EXPECT_EQ(type(5, false, 576, 32), DType::kQ5_1);
  EXPECT_EQ(type(8, true, 576, -1), DType::kQ8_0);
  EXPECT_EQ(type(3, false, 576, 64), DType::kQ4_0);
  EXPECT_EQ(type(2, false, 1024, 256), DType::kQ2_K);
  EXPECT_EQ(type(3, true, 1024, -1), DType::kQ3_K);
  EXPECT_EQ(type(6, true, 1024, 256), DType::kQ6_K);
  EXPECT_EQ(type(6, false, 1024, 256), DType::kQ8_0);
}

TEST(GgufFormat, SaysWhatItCannotKeep) {
  const auto reason = [](const GgufCandidate& candidate) {
    const GgufChoice choice = ChooseGgufType(candidate);
    EXPECT_FALSE(choice.type);
    return choice.reason;
  };
  EXPECT_THAT(reason({4, true, 64, 32, false}), testing::HasSubstr("activation order"));
  EXPECT_THAT(reason({4, true, 64, 48, true}), testing::HasSubstr("48"));
  EXPECT_THAT(reason({4, true, 172, -1, true}), testing::HasSubstr("172"));
  EXPECT_THAT(reason({4, true, 64, 32, true, DType::kBF16}), testing::HasSubstr("BF16"));
  EXPECT_THAT(reason({8, false, 64, 32, true}), testing::HasSubstr("8 bits"));
  PackedWeight weight = Weight(4, 64, 32, true);
  weight.scales[1] = 1.0f + 0x1p-20f;
  EXPECT_ERROR(ToGgufBlocks(weight, DType::kQ4_0, "some.linear"), "some.linear");
}

// Codes, scales, zeros and the group size come back from the blocks alone.
TEST(GgufFormat, ReadsBackWhatItWrote) {
  for (const auto& [bits, symmetric, group] : {std::tuple{4, true, 32},
                                               {4, true, 128},
                                               {4, true, 96},
                                               {4, true, -1},
                                               {4, false, 64},
                                               {5, true, 32},
                                               {5, false, 32},
                                               {8, true, -1},
                                               {8, true, 64},
                                               {2, false, 256},
                                               {2, true, -1}}) {
    const PackedWeight weight = Weight(bits, 768, group, symmetric);
    const DType type = *ChooseGgufType(CandidateOf(weight)).type;
    const Tensor blocks = ToGgufBlocks(weight, type, "test");
    const std::optional<PackedWeight> read = FromGgufBlocks(blocks.view());
    ASSERT_TRUE(read) << Name(type);
    ExpectEqual(*read, weight);
    EXPECT_EQ(read->bits, bits);
  }
}

TEST(GgufFormat, FindsNoCodesInGridsOfItsOwn) {
  Tensor blocks(DType::kQ4_1, {1, 32});
  uint16_t halves[2] = {0x3c00, 0x3800};  // scale 1, minimum 0.5
  std::copy_n(reinterpret_cast<const std::byte*>(halves), sizeof(halves), blocks.data());
  EXPECT_FALSE(FromGgufBlocks(blocks.view()));
  halves[1] = 0xc400;  // -4: zero 4
  std::copy_n(reinterpret_cast<const std::byte*>(halves), sizeof(halves), blocks.data());
  ASSERT_TRUE(FromGgufBlocks(blocks.view()));
  EXPECT_EQ(FromGgufBlocks(blocks.view())->zeros[0], 4);
  const Tensor floats(DType::kF32, {1, 32});
  EXPECT_FALSE(FromGgufBlocks(floats.view()));
}

}  // namespace gguf_format_test
}  // namespace gptq
