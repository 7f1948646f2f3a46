// `quantization_config` of config.json, and quantize_config.json, as GPTQ's readers and writers understand
// it.
#pragma once

#include <string_view>

#include "base/json.h"
#include "quant/quantization_config.h"

namespace gptq {

// What transformers, GPTQModel, vLLM and SGLang read.
Json ToGptqJson(const QuantizationConfig& config);

// Throws Error naming `where` and the key for another method, values that are impossible, and what is not
// supported (Marlin's own format, packing other than int32).
QuantizationConfig ParseGptqConfig(const Json& json, std::string_view where);

}  // namespace gptq
