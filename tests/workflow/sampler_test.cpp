#include "workflow/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

namespace gptq {
namespace sampler_test {

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

// Of many logits exactly those are drawn that a sort of all would keep, each as often as it should.
TEST(Sampler, CutsAreThoseOfASort) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(3000);
  for (float& logit : logits) logit = std::round(normal(generator) * 8) / 8;  // with equal ones
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater<>(),
                           [&](int32_t id) { return logits[static_cast<size_t>(id)]; });
  const auto weight = [&](size_t place) {
    return std::exp(
        double{logits[static_cast<size_t>(order[place])] - logits[static_cast<size_t>(order[0])]} / 0.7);
  };
  for (const auto& [top_k, top_p, min_p] : {std::tuple{5, 1.0, 0.0},
                                            {40, 1.0, 0.02},
                                            {0, 0.1, 0.0},
                                            {0, 0.3, 0.5},
                                            {60, 0.3, 0.0},
                                            {0, 1.0, 0.3}}) {
    const SamplingOptions options{.temperature = 0.7, .top_k = top_k, .top_p = top_p, .min_p = min_p};
    const size_t candidates = top_k > 0 ? static_cast<size_t>(top_k) : order.size();
    double total = 0, mass = 0;
    for (size_t i = 0; i < candidates; ++i) total += weight(i);
    size_t kept = 0;
    while (kept < candidates && mass < top_p * total && weight(kept) >= min_p) mass += weight(kept++);
    const auto frequencies = Frequencies(options, logits);
    EXPECT_EQ(frequencies.size(), kept) << top_k << " " << top_p << " " << min_p;
    for (size_t i = 0; i < kept; ++i) {
      const auto found = frequencies.find(order[i]);
      ASSERT_NE(found, frequencies.end()) << i;
      EXPECT_NEAR(found->second, weight(i) / mass, 0.02);
    }
  }
}

TEST(Sampler, AlmostNoTemperatureIsNone) {
  SamplingOptions options;
  options.temperature = 1e-300;
  EXPECT_EQ(Sampler(options).Choose(kLogits, {}), 1);
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

}  // namespace sampler_test
}  // namespace gptq
