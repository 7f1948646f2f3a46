// --target-bits: which linears get more bits and smaller groups, so that the model's predictions suffer least
// under a budget for all of them together.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "model/decoder.h"
#include "quant/options.h"
#include "workflow/calibration.h"

namespace gptq {

struct LinearChoice {
  int bits = 4;
  int64_t group_size = 128;
  std::optional<DType> type;  // of a GGUF file, instead of the two above

  // What a linear with so many inputs is solved with; GGUF's types where they fit its rows (FittingGgufType).
  SolverOptions Solver(int64_t columns, SolverOptions solver) const;
};

struct AllocationOptions {
  double target_bits = 4;  // stored bits per weight, scales, zeros and group indices counted
  std::vector<LinearChoice> choices;
  LinearChoice probe{3, 32, {}};                        // what sensitivities are measured at
  SolverOptions solver;                                 // the rest of the settings
  std::function<bool(const std::string& name)> wanted;  // linears to quantize
  // If set, called when a block has run: the pages of its weights may be given back.
  std::function<void()> passed;
};

// The linears of a stage (q,k,v; gate,up), which some readers merge, get one choice. Measured in the
// unquantized model: the loss of each choice, on at most 8192 tokens of the calibration set and some rows of
// each linear; and for each stage how far the model's predictions move (Kullback-Leibler divergence) when it
// alone is quantized as the probe says. Divergences are taken to be proportional to the loss and to add up.
// No linear gets fewer bits than the budget gives to all. Throws UsageError where the budget is below the
// least choice. The decoder's weights are as before when it returns.
std::map<std::string, LinearChoice> AllocateBits(const AllocationOptions& options,
                                                 const CalibrationSet& samples, Decoder& decoder,
                                                 Progress& progress);

// Throws the UsageError of AllocateBits without measuring anything.
void CheckTargetBits(const AllocationOptions& options, Decoder& decoder);

// Of each stage: its share of the divergence that all stages cause in a text, averaged over the texts. Some
// texts move ten times as far as others, whichever stage is quantized: in a plain mean these few would
// decide. `divergences` [stages][texts].
std::vector<double> MeanShares(const std::vector<std::vector<double>>& divergences);

// 2, 3, 4 and 8 bits in groups of each size; the K types of GGUF and Q8_0.
std::vector<LinearChoice> UniformChoices(const std::vector<int64_t>& group_sizes);
std::vector<LinearChoice> GgufChoices();

// Bits that a linear takes in the checkpoint.
double StoredBits(int64_t rows, int64_t columns, const SolverOptions& solver);

// One way to store a stage.
struct StageCandidate {
  double bits = 0;        // of all its linears
  double divergence = 0;  // expected, in any unit
};

// The index of the candidate taken for each stage, so that the bits sum to at most `budget` and the
// divergences to little more than the least possible (greedy on the lower convex hulls). Empty where even the
// smallest candidates exceed the budget.
std::vector<size_t> ChooseUnderBudget(const std::vector<std::vector<StageCandidate>>& stages, double budget);

}  // namespace gptq
