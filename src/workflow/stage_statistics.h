// What the linears of a stage are solved with: one Hessian for each input that some of them read.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/block.h"
#include "quant/hessian.h"
#include "quant/target_shift.h"

namespace gptq {

struct StageStatistics {
  Hessian hessian;
  std::optional<TargetShift> shift;  // with asymmetric calibration
};

// Groups of a stage that read the same input of the same tokens, and so share statistics.
struct StatisticsUnit {
  std::vector<size_t> groups;
  int64_t columns = 0;
  // Differences between the unquantized and the quantized model whose products with the input are summed,
  // too: of the input itself and of the residual stream (quant/target_shift.h). 0: not wanted.
  int64_t input_rows = 0, residual_rows = 0;

  int64_t Outputs() const { return columns + input_rows + residual_rows; }  // of all products with the input
  int64_t Bytes() const;                                                    // while they are summed
};

// Of the groups that hold a linear that is wanted. `all_tokens`: experts see the tokens of all others, too.
std::vector<StatisticsUnit> StatisticsUnits(const Stage& stage, bool all_tokens,
                                            const std::function<bool(const std::string&)>& wanted);
// Cut so that the statistics of each part take at most `bytes`, or are those of a single unit.
std::vector<std::span<const StatisticsUnit>> PartsInMemory(std::span<const StatisticsUnit> units,
                                                           int64_t bytes);

// Inputs that no token has, and those of outlying size: their root mean square is more than 6 times the
// median of those that are not dead.
struct InputCounts {
  int64_t dead = 0, outliers = 0;
};
InputCounts CountInputs(const Hessian& hessian);

// What an expert is solved with that saw `tokens` of calibration: fewer than its inputs say little of their
// products, so that the damping is raised, step by step; nullopt: too little, its weights are rounded to
// nearest.
std::optional<double> ExpertDamping(int64_t tokens, int64_t columns, double damping);

}  // namespace gptq
