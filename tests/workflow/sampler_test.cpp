#include "workflow/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace gptq {
namespace {

std::map<int32_t, double> Frequencies(const SamplingOptions& options, const std::vector<float>& logits,
                                      const std::vector<int32_t>& seen = {}) {
  Sampler sampler(options);
  std::map<int32_t, double> counts;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) counts[sampler.Choose(logits, seen)] += 1.0 / kDraws;
  return counts;
}

const std::vector<float> kLogits = {std::log(0.1f), std::log(0.5f), std::log(0.15f), std::log(0.25f)};

TEST(Sampler, ZeroTemperatureTakesTheLikeliestAndTheFirstOfEquals) {
  SamplingOptions options;
  options.temperature = 0;
  EXPECT_EQ(Sampler(options).Choose(kLogits, {}), 1);
  EXPECT_EQ(Sampler(options).Choose(std::vector<float>{1, 2, 2, 2}, {}), 1);
}

TEST(Sampler, DrawsWithTheirProbabilities) {
  SamplingOptions options;
  options.temperature = 1;
  auto frequencies = Frequencies(options, kLogits);
  EXPECT_NEAR(frequencies[0], 0.10, 0.015);
  EXPECT_NEAR(frequencies[1], 0.50, 0.015);
  EXPECT_NEAR(frequencies[3], 0.25, 0.015);
}

TEST(Sampler, TopKTopPAndMinPCutTheTail) {
  SamplingOptions options;
  options.temperature = 1;
  options.top_k = 2;
  auto frequencies = Frequencies(options, kLogits);
  EXPECT_EQ(frequencies.size(), 2u);
  EXPECT_NEAR(frequencies[1], 2.0 / 3, 0.015);
  options.top_k = 0;
  options.top_p = 0.7;  // 0.5 does not reach it, 0.5 + 0.25 does
  EXPECT_EQ(Frequencies(options, kLogits).size(), 2u);
  options.top_p = 1;
  options.min_p = 0.25;  // at least 0.125
  EXPECT_EQ(Frequencies(options, kLogits).size(), 3u);
  options.min_p = 1;
  EXPECT_EQ(Frequencies(options, kLogits).size(), 1u);
  options.min_p = 0;
  options.top_p = 0;  // never empty
  EXPECT_EQ(Frequencies(options, kLogits).size(), 1u);
}

TEST(Sampler, RepeatPenaltyLowersWhatWasSeen) {
  SamplingOptions options;
  options.temperature = 1;
  options.repeat_penalty = 4;
  // log 0.5 times 4, against the others as they were.
  EXPECT_NEAR(Frequencies(options, kLogits, {1, 1})[1], 0.0625 / (0.0625 + 0.5), 0.015);
}

TEST(Sampler, SameSeedSameChoices) {
  SamplingOptions options;
  options.seed = 5;
  Sampler a(options), b(options);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.Choose(kLogits, {}), b.Choose(kLogits, {}));
}

}  // namespace
}  // namespace gptq
