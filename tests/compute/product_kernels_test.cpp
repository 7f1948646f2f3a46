#include "compute/cpu/product_kernels.h"

#include <cmath>
#include <limits>

#include "compute/cpu/vector_kernels.h"
#include "tests/compute/plain.h"

namespace gptq {
namespace product_kernels_test {

using plain::GuardedFloats;
using plain::Random;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<const VectorKernels*> Supported() {
  std::vector<const VectorKernels*> supported;
  for (const VectorKernels* kernels : AllVectorKernels()) {
    if (kernels->supported()) supported.push_back(kernels);
  }
  return supported;
}

int64_t RoundUp(int64_t a, int64_t multiple) { return (a + multiple - 1) / multiple * multiple; }

class ProductKernelsTest : public testing::TestWithParam<const VectorKernels*> {
 protected:
  const VectorKernels& kernels = *GetParam();
  const ProductKernels& product = kernels.product;
  const int64_t height = product.left_width, width = product.right_width;

  // Packs `count` lines of `depth`, both ways, and compares with the definition; the gaps in the source are
  // NaN.
  void CheckPacking(bool left, int64_t count, int64_t depth) {
    const int64_t w = left ? height : width, gap = 3;
    const std::vector<float> values = Random(count * depth, 1);
    std::vector<float> lines(static_cast<size_t>(count * (depth + gap) - gap), NAN);
    std::vector<float> columns(static_cast<size_t>(depth * (count + gap) - gap), NAN);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t k = 0; k < depth; ++k)
        lines[i * (depth + gap) + k] = columns[k * (count + gap) + i] = values[i * depth + k];
    }
    GuardedFloats from_lines(lines), from_columns(columns);
    GuardedFloats packed(RoundUp(count, w) * depth), transposed(RoundUp(count, w) * depth);
    (left ? product.pack_left_lines : product.pack_right_lines)(from_lines.data(), depth + gap, count, depth,
                                                                packed.data());
    (left ? product.pack_left_columns : product.pack_right_columns)(from_columns.data(), count + gap, count,
                                                                    depth, w * depth, transposed.data());
    for (int64_t i = 0; i < RoundUp(count, w); ++i) {
      for (int64_t k = 0; k < depth; ++k) {
        const int64_t at = i / w * w * depth + k * w + i % w;
        const float expected = i < count ? values[i * depth + k] : 0.0f;
        ASSERT_EQ(packed[at], expected) << count << " lines of " << depth << ": " << i << ", " << k;
        ASSERT_EQ(transposed[at], expected) << count << " columns of " << depth << ": " << i << ", " << k;
      }
    }
    ASSERT_TRUE(packed.Intact() && transposed.Intact());
  }

  // left [rows, depth] times right [columns, depth] transposed, added to c; columns <= width.
  void Multiply(int64_t rows, int64_t columns, int64_t depth, const float* left, const float* right, bool add,
                float* c, int64_t c_stride) {
    GuardedFloats left_panels(RoundUp(rows, height) * depth), right_panel(width * depth);
    product.pack_left_lines(left, depth, rows, depth, left_panels.data());
    product.pack_right_lines(right, depth, columns, depth, right_panel.data());
    product.multiply(rows, columns, depth, left_panels.data(), height * depth, right_panel.data(), add, c,
                     c_stride);
  }
};

INSTANTIATE_TEST_SUITE_P(EveryIsa, ProductKernelsTest, testing::ValuesIn(Supported()),
                         [](const auto& isa) { return std::string(isa.param->isa); });

TEST_P(ProductKernelsTest, PacksEveryCountAndDepth) {
  for (const bool left : {false, true}) {
    for (int64_t count = 1; count <= 2 * width + 1; ++count) {
      for (const int64_t depth : {1, 2, 3, 4, 5, 7, 8, 33}) CheckPacking(left, count, depth);
    }
    CheckPacking(left, 11 * width + 5, 6);  // several panels at once, then one by one
  }
}

TEST_P(ProductKernelsTest, MultipliesEveryTile) {
  for (const int64_t rows : {int64_t{1}, height - 1, height, height + 1, 3 * height + 2}) {
    for (int64_t columns = 1; columns <= width; ++columns) {
      for (const int64_t depth : {1, 2, 64, 101}) {
        const std::vector<float> left = Random(rows * depth, 2), right = Random(columns * depth, 3);
        const plain::Product twin = plain::Linear(left, right, {}, rows, columns, depth);
        for (const bool add : {false, true}) {
          const int64_t gap = 3;
          GuardedFloats c(std::vector<float>(static_cast<size_t>(rows * (columns + gap) - gap), 5.0f));
          Multiply(rows, columns, depth, left.data(), right.data(), add, c.data(), columns + gap);
          for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < columns; ++j) {
              const double expected = twin.value[i * columns + j] + (add ? 5 : 0);
              ASSERT_NEAR(c[i * (columns + gap) + j], expected, 1e-6 * (5 + twin.magnitude[i * columns + j]))
                  << rows << " x " << columns << " x " << depth << (add ? ", added" : "");
            }
            for (int64_t j = columns; j < columns + gap && i + 1 < rows; ++j)
              ASSERT_EQ(c[i * (columns + gap) + j], 5.0f) << "between the rows";
          }
          ASSERT_TRUE(c.Intact());
        }
      }
    }
  }
}

// What lets callers cut products as they like.
TEST_P(ProductKernelsTest, AnElementDoesNotDependOnItsPlace) {
  const int64_t rows = 2 * height + 1, depth = 77;
  const std::vector<float> left = Random(rows * depth, 4), right = Random(width * depth, 5);
  std::vector<float> whole(static_cast<size_t>(rows * width), 1.0f);
  Multiply(rows, width, depth, left.data(), right.data(), true, whole.data(), width);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      float alone = 1.0f;
      Multiply(1, 1, depth, left.data() + i * depth, right.data() + j * depth, true, &alone, 1);
      ASSERT_EQ(alone, whole[i * width + j]) << i << ", " << j;
    }
  }
}

// Blocks of scores one after the other against the definition over all of them.
TEST_P(ProductKernelsTest, SoftmaxOfColumns) {
  constexpr int64_t kBlock = 10;
  for (const int64_t rows : {1, 7, 30}) {
    for (const int64_t past : {0, 1, 5, 40}) {  // query q sees rows 0 .. past + q
      for (const float deviation : {1.0f, 30.0f}) {
        const std::vector<float> scores = Random(rows * width, 6, deviation);
        std::vector<float> powers = scores;
        std::vector<float> maximum(static_cast<size_t>(width), -kInfinity), sum(maximum.size(), 0.0f);
        std::vector<float> correction(maximum.size());
        for (int64_t first = 0; first < rows; first += kBlock) {
          const int64_t count = std::min(kBlock, rows - first);
          GuardedFloats block(
              std::vector<float>(powers.begin() + first * width, powers.begin() + (first + count) * width));
          const float least = kernels.softmax_columns(block.data(), count, past + 1 - first, maximum.data(),
                                                      sum.data(), correction.data());
          ASSERT_EQ(least, *std::min_element(correction.begin(), correction.end()));
          if (first > 0) kernels.scale_columns(powers.data(), first, correction.data());
          std::copy_n(block.data(), count * width, powers.data() + first * width);
        }
        for (int64_t q = 0; q < width; ++q) {
          double expected_sum = 0;
          for (int64_t r = 0; r < std::min(rows, past + q + 1); ++r)
            expected_sum += std::exp2(double{scores[r * width + q]} - double{maximum[q]});
          EXPECT_NEAR(sum[q], expected_sum, 2e-6 * expected_sum);
          for (int64_t r = 0; r < rows; ++r) {
            const double expected = std::exp2(double{scores[r * width + q]} - double{maximum[q]});
            const bool seen = r <= past + q;
            const double rounding =
                1e-6 + 1e-7 * double{std::abs(scores[r * width + q]) + std::abs(maximum[q])};
            ASSERT_NEAR(powers[r * width + q], seen ? expected : 0.0,
                        seen ? rounding * expected + 1e-37 : 0.0);
          }
        }
      }
    }
  }
}

// Powers of 2 to 3 ulp (the polynomial 1.5, the rest is rounding), 0 far below, and NaN where a score is.
TEST_P(ProductKernelsTest, SoftmaxPowersAreAccurate) {
  constexpr int64_t kRows = 100'000;
  std::vector<float> scores(static_cast<size_t>(kRows * width));
  for (size_t i = 0; i < scores.size(); ++i)
    scores[i] = static_cast<float>(-126.0 * static_cast<double>(i) / static_cast<double>(scores.size()));
  const std::vector<float> before = scores;
  std::vector<float> maximum(static_cast<size_t>(width), 0.0f), sum(maximum.size()),
      correction(maximum.size());
  EXPECT_EQ(
      kernels.softmax_columns(scores.data(), kRows, kRows, maximum.data(), sum.data(), correction.data()),
      1.0f);
  double worst = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double expected = std::exp2(double{before[i]});
    worst = std::max(worst, std::abs(scores[i] - expected) / std::ldexp(1.0, std::ilogb(expected) - 23));
  }
  EXPECT_LE(worst, 3.0);
  EXPECT_EQ(scores[0], 1.0f);
  for (const float low : {-126.5f, -1e4f, -1e30f, -kInfinity}) {
    std::vector<float> block(static_cast<size_t>(width), low);
    kernels.softmax_columns(block.data(), 1, 1, maximum.data(), sum.data(), correction.data());
    for (const float power : block) EXPECT_EQ(power, 0.0f) << low;
  }
  std::vector<float> block(static_cast<size_t>(width), std::numeric_limits<float>::quiet_NaN());
  kernels.softmax_columns(block.data(), 1, 1, maximum.data(), sum.data(), correction.data());
  for (const float power : block) EXPECT_TRUE(std::isnan(power));
}

TEST_P(ProductKernelsTest, AddScaled) {
  for (int64_t n = 0; n <= 100; ++n) {
    const std::vector<float> x = Random(n, 7), y = Random(n, 8);
    GuardedFloats out(x), added(y);
    kernels.add_scaled(out.data(), 0.7f, added.data(), n);
    for (int64_t i = 0; i < n; ++i) ASSERT_NEAR(out[i], x[i] + 0.7 * y[i], 1e-6);
    ASSERT_TRUE(out.Intact());
  }
}

}  // namespace product_kernels_test
}  // namespace gptq
