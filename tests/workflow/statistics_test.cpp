#include "workflow/statistics.h"

#include <cmath>

#include "tests/test_util.h"

namespace gptq {
namespace statistics_test {

TEST(Statistics, MeanAndItsStandardError) {
  const std::vector<double> values = {1, 2, 3, 6};
  EXPECT_EQ(Mean(values), 3);
  EXPECT_DOUBLE_EQ(StandardError(values), std::sqrt(14.0 / 3 / 4));
  EXPECT_EQ(StandardError(std::vector<double>{5}), 0);
  EXPECT_EQ(StandardError(std::vector<double>{}), 0);
  EXPECT_TRUE(std::isnan(Mean(std::vector<double>{})));
}

TEST(Statistics, QuantileIsTheNearestRank) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  EXPECT_EQ(Quantile(values, 0.99), 99);
  EXPECT_EQ(Quantile(values, 0.991), 100);
  EXPECT_EQ(Quantile(values, 0.5), 50);
  EXPECT_EQ(Quantile(values, 0.001), 1);
  EXPECT_EQ(Quantile(values, 1), 100);
  EXPECT_EQ(Quantile({7}, 0.99), 7);
  EXPECT_EQ(Quantile({3, 1, 2}, 0.5), 2);
}

TEST(Statistics, WordsAreSeparatedByWhiteSpace) {
  EXPECT_EQ(CountWords(""), 0);
  EXPECT_EQ(CountWords(" \t\n\v\f\r"), 0);
  EXPECT_EQ(CountWords("one"), 1);
  EXPECT_EQ(CountWords("  one  two\nthree, "), 3);
}

}  // namespace statistics_test
}  // namespace gptq
