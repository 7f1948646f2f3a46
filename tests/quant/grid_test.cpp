#include "quant/grid.h"

#include <cmath>
#include <limits>
#include <random>

#include "base/half.h"
#include "tests/test_util.h"

namespace gptq {
namespace grid_test {

SolverOptions Options(int bits, bool symmetric) {
  SolverOptions options = ReferenceRecipe();
  options.bits = bits;
  options.symmetric = symmetric;
  return options;
}

// Grid and quantized values of one row.
struct RowResult {
  Grid grid;
  std::vector<uint8_t> codes;
  std::vector<float> values;
};

RowResult QuantizeRow(const SolverOptions& options, const std::vector<float>& row) {
  std::vector<float> tile(row.size() * kTileRows);
  for (size_t c = 0; c < row.size(); ++c) tile[c * kTileRows] = row[c];
  RowResult result;
  GridFinder(options).Find(tile.data(), static_cast<int64_t>(row.size()), 1, &result.grid.scale,
                           &result.grid.zero);
  for (const float w : row) {
    uint8_t code;
    float value;
    QuantizeColumn(options, 1, &w, &result.grid.scale, &result.grid.zero, &code, &value);
    result.codes.push_back(code);
    result.values.push_back(value);
  }
  return result;
}

TEST(Grid, SpansMinimumAndMaximumWithZeroInside) {
  RowResult row = QuantizeRow(Options(4, false), {-1, 2, 0.1f});
  EXPECT_FLOAT_EQ(row.grid.scale, 0.2f);
  EXPECT_EQ(row.grid.zero, 5);
  EXPECT_EQ(row.codes, (std::vector<uint8_t>{0, 15, 5}));  // 0.1 / 0.2 is a tie and goes to the even step 0
  row = QuantizeRow(Options(4, false), {1, 2, 3});
  EXPECT_EQ(row.grid.zero, 0);
  EXPECT_FLOAT_EQ(row.grid.scale, 0.2f);
}

TEST(Grid, SymmetricMirrorsOnlyWhereAWeightIsNegative) {
  RowResult row = QuantizeRow(Options(4, true), {-1, 0.5f});
  EXPECT_FLOAT_EQ(row.grid.scale, 2.0f / 15);
  EXPECT_EQ(row.grid.zero, 8);
  // The published program's habit: half the grid is lost.
  row = QuantizeRow(Options(4, true), {1, 0.5f});
  EXPECT_FLOAT_EQ(row.grid.scale, 1.0f / 15);
  EXPECT_EQ(row.grid.zero, 8);
  EXPECT_EQ(row.codes[0], 15);
}

TEST(Grid, ZeroRowsAreUsable) {
  for (const bool symmetric : {false, true}) {
    const RowResult row = QuantizeRow(Options(4, symmetric), {0, 0});
    EXPECT_FLOAT_EQ(row.grid.scale, 2.0f / 15);
    EXPECT_NEAR(row.grid.zero, 7.5, 0.5);
    EXPECT_EQ(row.values, (std::vector<float>{0, 0}));
  }
}

TEST(Grid, RoundsTiesToTheEvenStep) {
  SolverOptions options = Options(4, true);
  const float scale = 1, zero = 8;
  const std::vector<float> weights = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 100.f, -100.f, 1e30f, -1e30f};
  const std::vector<float> expected = {0, 2, 2, 0, -2, 7, -8, 7, -8};
  for (size_t i = 0; i < weights.size(); ++i) {
    uint8_t code;
    float value;
    QuantizeColumn(options, 1, &weights[i], &scale, &zero, &code, &value);
    EXPECT_EQ(value, expected[i]);
    EXPECT_EQ(code, expected[i] + 8);
  }
}

TEST(Grid, ScalesAreRoundedToTheirTypeAndNeverUnusable) {
  EXPECT_EQ(RoundScale(0.1f, DType::kF16), HalfToFloat(FloatToHalf(0.1f)));
  EXPECT_EQ(RoundScale(0.1f, DType::kBF16), BFloat16ToFloat(FloatToBFloat16(0.1f)));
  EXPECT_EQ(RoundScale(0.1f, DType::kF32), 0.1f);
  for (const DType type : {DType::kF16, DType::kBF16, DType::kF32}) {
    for (const float scale : {0.0f, 1e-45f, 1e-10f, 1e10f, 3e38f, std::numeric_limits<float>::infinity()}) {
      const float rounded = RoundScale(scale, type);
      EXPECT_GT(rounded, 0.0f);
      EXPECT_TRUE(std::isfinite(rounded));
      EXPECT_LE(rounded, GreatestScale(type));
    }
  }
  SolverOptions options = Options(4, false);
  for (const DType type : {DType::kF16, DType::kBF16, DType::kF32}) {
    options.scale_type = type;
    for (const Clip clip : {Clip::kNone, Clip::kMse}) {
      options.clip = clip;
      for (const float size : {1e-45f, 1e-30f, 1e-8f, 1e-6f, 1e6f, 3e38f}) {
        const RowResult row = QuantizeRow(options, {-size, size, size / 2, 0});
        EXPECT_GT(row.grid.scale, 0.0f);
        EXPECT_GE(row.grid.zero, 0.0f);
        EXPECT_LE(row.grid.zero, 15.0f);
        for (const float value : row.values) EXPECT_TRUE(std::isfinite(value)) << size;
      }
    }
  }
}

TEST(Grid, KeepsZeroInRangeWhereTheScaleIsRoundedDown) {
  SolverOptions options = Options(4, false);
  options.scale_type = DType::kF16;
  const RowResult row = QuantizeRow(options, {-1.3e-6f, 0});  // a scale of 1.45 steps of the least float16
  EXPECT_LE(row.grid.zero, 15.0f);
}

TEST(Grid, HoldsZerosAtTheMinimum) {
  SolverOptions options = Options(2, false);
  options.minimum_zero = 1;
  RowResult row = QuantizeRow(options, {1, 3, 4});
  EXPECT_EQ(row.grid.zero, 1);
  EXPECT_FLOAT_EQ(row.grid.scale, 2);  // codes 1..3 span 0..4
  EXPECT_EQ(row.values[2], 4);
  row = QuantizeRow(options, {-3, 3});
  EXPECT_EQ(row.grid.zero, 2);
}

// The published search with pow(), in float64 but for the grids.
Grid PlainSearch(const SolverOptions& options, const std::vector<float>& row) {
  float low = 0, high = 0;
  for (const float w : row) {
    low = std::min(low, w);
    high = std::max(high, w);
  }
  if (options.symmetric) {
    high = std::max(-low, high);
    if (low < 0) low = -high;
  }
  const float maximum_code = static_cast<float>(options.maximum_code());
  Grid best{};
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 80; ++i) {
    const auto shrink = static_cast<float>(1 - i / 100.0);
    Grid grid{(shrink * high - shrink * low) / maximum_code, (maximum_code + 1) / 2};
    if (!options.symmetric) grid.zero = std::nearbyint(-(shrink * low) / grid.scale);
    double error = 0;
    for (const float w : row) {
      const float q =
          grid.scale *
          (std::clamp(std::nearbyint(w / grid.scale) + grid.zero, 0.0f, maximum_code) - grid.zero);
      error += std::pow(std::abs(double{q} - double{w}), 2.4);
    }
    if (error < least) {
      least = error;
      best = grid;
    }
  }
  return best;
}

TEST(Grid, ClipSearchIsThePublishedOne) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {false, true}) {
      for (const size_t columns : {1, 5, 64, 200}) {
        for (const float size : {1.0f, 1e-4f}) {
          SolverOptions options = Options(bits, symmetric);
          options.clip = Clip::kMse;
          std::vector<float> row(columns);
          for (float& w : row) w = size * normal(generator);
          const Grid expected = PlainSearch(options, row), found = QuantizeRow(options, row).grid;
          EXPECT_EQ(found.scale, expected.scale) << bits << " " << symmetric << " " << columns;
          EXPECT_EQ(found.zero, expected.zero);
        }
      }
    }
  }
}

TEST(Grid, TernaryTakesTheExtremesAndZero) {
  SolverOptions options = Options(4, false);
  options.ternary = true;
  const RowResult row = QuantizeRow(options, {-2, 3, 1.6f, 1.4f, -0.9f, -1.1f});
  EXPECT_EQ(row.values, (std::vector<float>{-2, 3, 3, 0, 0, -2}));
  EXPECT_EQ(row.codes, (std::vector<uint8_t>{0, 2, 2, 1, 1, 0}));
}

}  // namespace grid_test
}  // namespace gptq
