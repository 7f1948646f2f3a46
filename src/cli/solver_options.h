// The options of quality that `quantize` and `solve` share.
#pragma once

#include <CLI/CLI.hpp>

#include "quant/recipe.h"

namespace gptq {

void AddSolverOptions(CLI::App* command, QualityOptions* given);

}  // namespace gptq
