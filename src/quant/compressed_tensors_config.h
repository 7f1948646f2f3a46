// `quantization_config` of config.json as compressed-tensors understands it: groups of settings, each with
// its targets (a class of modules, names, "re:" expressions), and names that are ignored.
#pragma once

#include <string_view>

#include "base/json.h"
#include "quant/quantization_config.h"

namespace gptq {

// What llm-compressor writes and vLLM and transformers read.
Json ToCompressedTensorsJson(const QuantizationConfig& config);

// Throws Error naming `where` and the key for values that are impossible, and for all that is not weights of
// 2 to 8 bits in the format pack-quantized.
QuantizationConfig ParseCompressedTensorsConfig(const Json& json, std::string_view where);

}  // namespace gptq
