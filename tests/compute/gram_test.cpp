#include "compute/gram.h"

#include "tests/compute/plain.h"

namespace gptq {
namespace gram_test {

using plain::Random;

// Upper triangles only.
void ExpectTwin(const std::vector<float>& sum, const std::vector<float>& x, int64_t tokens, int64_t columns,
                int64_t stride) {
  for (int64_t i = 0; i < columns; ++i) {
    for (int64_t j = i; j < columns; ++j) {
      double expected = 0, magnitude = 1e-30;
      for (int64_t t = 0; t < tokens; ++t) {
        const double term = double{x[t * stride + i]} * double{x[t * stride + j]};
        expected += term, magnitude += std::abs(term);
      }
      ASSERT_NEAR(sum[i * columns + j], expected, 2e-6 * magnitude) << i << ", " << j << " of " << columns;
    }
  }
}

bool SameUpperTriangle(const std::vector<float>& a, const std::vector<float>& b, int64_t columns) {
  for (int64_t i = 0; i < columns; ++i) {
    const auto at = [&](const std::vector<float>& m) { return m.begin() + i * columns; };
    if (!std::equal(at(a) + i, at(a) + columns, at(b) + i)) return false;
  }
  return true;
}

// Around the edges of tiles, strips and blocks of tokens; rows of x lie further apart than they are long.
TEST(Gram, EveryShape) {
  for (const int64_t columns : {1, 2, 15, 16, 17, 31, 33, 47, 48, 49, 96, 130, 200}) {
    for (const int64_t tokens : {0, 1, 15, 16, 17, 255, 256, 257, 700}) {
      if (columns > 50 && tokens > 300) continue;
      const int64_t stride = columns + 5;
      const std::vector<float> x = Random(std::max<int64_t>(1, tokens) * stride, 1);
      std::vector<float> one(static_cast<size_t>(columns * columns)), three = one;
      ThreadPool single(1), several(3);
      Gram(columns).Add(x.data(), tokens, stride, one.data(), single);
      ExpectTwin(one, x, tokens, columns, stride);
      Gram(columns).Add(x.data(), tokens, stride, three.data(), several);
      ASSERT_TRUE(SameUpperTriangle(one, three, columns)) << columns << " columns, " << tokens << " tokens";
    }
  }
}

TEST(Gram, CallsMayBeCutBetweenBlocks) {
  const int64_t columns = 70, tokens = 1100;
  const std::vector<float> x = Random(tokens * columns, 2);
  std::vector<float> whole(static_cast<size_t>(columns * columns)), cut = whole;
  ThreadPool pool(2);
  Gram(columns).Add(x.data(), tokens, columns, whole.data(), pool);
  Gram gram(columns);
  gram.Add(x.data(), 256, columns, cut.data(), pool);
  gram.Add(x.data() + 256 * columns, 512, columns, cut.data(), pool);
  gram.Add(x.data() + 768 * columns, tokens - 768, columns, cut.data(), pool);
  EXPECT_TRUE(SameUpperTriangle(whole, cut, columns));
}

TEST(Gram, AddsToWhatIsThere) {
  const int64_t columns = 20, tokens = 40;
  const std::vector<float> x = Random(tokens * columns, 3);
  std::vector<float> sum(static_cast<size_t>(columns * columns)), twice = sum;
  ThreadPool pool(1);
  Gram gram(columns);
  gram.Add(x.data(), tokens, columns, sum.data(), pool);
  for (int repeat = 0; repeat < 2; ++repeat) gram.Add(x.data(), tokens, columns, twice.data(), pool);
  for (int64_t i = 0; i < columns; ++i) {
    for (int64_t j = i; j < columns; ++j) ASSERT_NEAR(twice[i * columns + j], 2 * sum[i * columns + j], 1e-4);
  }
}

}  // namespace gram_test
}  // namespace gptq
