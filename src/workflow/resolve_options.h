// From what the user asks for to all settings of a quantization.
#pragma once

#include <gptq/options.h>

#include "workflow/quantize.h"

namespace gptq {

// Everything but model and output. Throws UsageError naming the option.
QuantizeOptions ResolveQuantizeOptions(const ModelOptions& given);

}  // namespace gptq
