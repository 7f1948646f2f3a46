// What a model's files say of it.
#pragma once

#include <filesystem>

#include "base/json.h"

namespace gptq {

// architecture, parameters, bytes, vocabulary, context, license, quantization, types{dtype: count},
// tensors[]{name, dtype, shape}. Works on models of unknown architecture too. `parameters` counts the weights
// of quantized linears, not their words.
Json InspectModel(const std::filesystem::path& path);

}  // namespace gptq
