// From what the user asks for to all settings of a quantization.
#pragma once

#include <gptq/options.h>

#include "workflow/quantize.h"

namespace gptq {

// Everything but model and output. Throws UsageError naming the option.
QuantizeOptions ResolveQuantizeOptions(const ModelOptions& given);

// --embedding-bits and --head-bits: the type of a matrix at the end of a GGUF model.
EndTypes ParseEndTypes(std::optional<int> embedding_bits, std::optional<int> head_bits);
// --type: "f32", "f16", "bf16" or a GGUF type that is written, "q4_0" ...
DType ParseStoredType(const std::string& name);

}  // namespace gptq
