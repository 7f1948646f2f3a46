// From what the user asks for to all settings of the solver.
#pragma once

#include <gptq/options.h>

#include "quant/options.h"

namespace gptq {

// The recipe's settings with the user's over them. Throws UsageError naming the option.
SolverOptions ResolveSolverOptions(const QualityOptions& given, DType default_scale_type);

}  // namespace gptq
