#include "workflow/bit_allocation.h"

#include <random>

#include "tests/test_util.h"
#include "workflow/model_files.h"

namespace gptq {
namespace bit_allocation_test {

double Total(const std::vector<std::vector<StageCandidate>>& stages, const std::vector<size_t>& chosen,
             double StageCandidate::*part) {
  double sum = 0;
  for (size_t s = 0; s < stages.size(); ++s) sum += stages[s][chosen[s]].*part;
  return sum;
}

// The slow twin: every combination.
double LeastDivergence(const std::vector<std::vector<StageCandidate>>& stages, double budget) {
  double least = 1e300;
  std::vector<size_t> chosen(stages.size());
  for (;;) {
    if (Total(stages, chosen, &StageCandidate::bits) <= budget)
      least = std::min(least, Total(stages, chosen, &StageCandidate::divergence));
    size_t s = 0;
    while (s < stages.size() && ++chosen[s] == stages[s].size()) chosen[s++] = 0;
    if (s == stages.size()) return least;
  }
}

TEST(BitAllocation, IsNearTheBestCombinationAndNeverOverBudget) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<double> uniform(0.5, 2.0);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<std::vector<StageCandidate>> stages(6);
    for (std::vector<StageCandidate>& stage : stages) {
      const double weights = 100 * uniform(generator), sensitivity = uniform(generator);
      for (const int bits : {2, 3, 4, 8})
        stage.push_back({weights * bits, weights * sensitivity * std::exp2(-2 * bits) * uniform(generator)});
    }
    double least_bits = 0;
    for (const auto& stage : stages) least_bits += stage[0].bits;
    for (const double factor : {1.0, 1.3, 1.7, 2.5, 5.0}) {
      const std::vector<size_t> chosen = ChooseUnderBudget(stages, factor * least_bits);
      ASSERT_EQ(chosen.size(), stages.size());
      EXPECT_LE(Total(stages, chosen, &StageCandidate::bits), factor * least_bits * (1 + 1e-12));
      const double best = LeastDivergence(stages, factor * least_bits);
      EXPECT_LE(Total(stages, chosen, &StageCandidate::divergence), 1.6 * best) << trial << " " << factor;
    }
    EXPECT_TRUE(ChooseUnderBudget(stages, 0.99 * least_bits).empty());
  }
}

TEST(BitAllocation, TextsCountAlike) {
  const std::vector<double> shares = MeanShares({{1, 0, 300}, {3, 0, 100}});
  EXPECT_NEAR(shares[0], (0.25 + 0.75) / 3, 1e-12);
  EXPECT_NEAR(shares[1], (0.75 + 0.25) / 3, 1e-12);
  EXPECT_TRUE(MeanShares({}).empty());
}

TEST(BitAllocation, StoredBitsAreThoseOfTheFormat) {
  SolverOptions solver;
  solver.bits = 3;
  solver.group_size = 64;
  EXPECT_EQ(StoredBits(10, 130, solver), 10 * (130 * 3 + 3 * (16 + 3)));
  solver.order = Order::kActivation;
  EXPECT_EQ(StoredBits(10, 130, solver), 10 * (130 * 3 + 3 * (16 + 3)) + 130 * 32);
  EXPECT_EQ(StoredBits(10, 512, LinearChoice{0, 0, DType::kQ4_K}.Solver(512, {})), 10 * 512 * 4.5);
  EXPECT_EQ(StoredBits(10, 96, LinearChoice{0, 0, DType::kQ4_K}.Solver(96, {})), 10 * 96 * 5.5);
}

TEST(BitAllocation, KeepsMergedLinearsEqualAndLeavesTheModelAsItWas) {
  const std::unique_ptr<Backend> backend = MakeCpuBackend(2);
  const std::unique_ptr<ModelFiles> model = ModelFiles::Open(TestData("../../models/stories260K"));
  const std::unique_ptr<Decoder> decoder = model->LoadDecoder(*backend, 64);
  CalibrationSet samples;
  samples.samples = 4;
  samples.tokens_per_sample = 64;
  for (int i = 0; i < 256; ++i) samples.ids.push_back((i * 37 + i / 64) % 500 + 3);
  samples.sinks = {5, 6, 7, 8};
  AllocationOptions options;
  options.target_bits = 4.5;
  options.choices = UniformChoices({16, 32});
  options.probe.group_size = 16;
  options.wanted = [](const std::string& name) { return name.find("layers.2") == std::string::npos; };
  SilentProgress progress;
  const Matrix before = decoder->Run(samples.ids, 64);
  const std::map<std::string, LinearChoice> choices = AllocateBits(options, samples, *decoder, progress);
  const Matrix after = decoder->Run(samples.ids, 64);
  EXPECT_TRUE(std::equal(before.data(), before.data() + before.rows() * before.columns(), after.data()));
  EXPECT_EQ(choices.size(), 4u * 7);
  double bits = 0, weights = 0;
  for (const Block& block : decoder->blocks()) {
    for (const Stage& stage : block.stages()) {
      for (const LinearLayer& linear : stage.linears) {
        if (!options.wanted(linear.name)) continue;
        const LinearChoice& choice = choices.at(linear.name);
        const LinearChoice& first = choices.at(stage.linears.front().name);
        EXPECT_TRUE(choice.bits == first.bits && choice.group_size == first.group_size);
        EXPECT_GE(choice.bits, 3);  // in groups of 32 all could have them
        const SolverOptions solver = choice.Solver(linear.weight.columns(), options.solver);
        bits += StoredBits(linear.weight.rows(), linear.weight.columns(), solver);
        weights += static_cast<double>(linear.weight.rows()) * static_cast<double>(linear.weight.columns());
      }
    }
  }
  EXPECT_LE(bits / weights, 4.5);
  EXPECT_GT(bits / weights, 4.0);
  options.target_bits = 1;
  EXPECT_THROW(AllocateBits(options, samples, *decoder, progress), UsageError);
}

}  // namespace bit_allocation_test
}  // namespace gptq
