// The options of quality that `quantize` and `solve` share.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "quant/options.h"

namespace gptq {

// As written by the user: what is absent comes from the recipe.
struct GivenSolverOptions {
  std::string recipe = "default", method = "gptq";
  std::optional<std::string> bits, order, group_grid, clip, scale_type, symmetric_grid;
  std::optional<int> refits, sweeps;
  std::optional<int64_t> group_size, block_size;
  std::optional<double> damping;
  bool symmetric = false, asymmetric = false, static_groups = false;
};

void AddSolverOptions(CLI::App* command, GivenSolverOptions* given);

// The recipe's settings with the user's over them. Throws UsageError.
SolverOptions ResolveSolverOptions(const GivenSolverOptions& given, DType default_scale_type);

}  // namespace gptq
