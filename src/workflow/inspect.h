// What a model's files say of it.
#pragma once

#include <filesystem>

#include "base/json.h"
#include "io/checkpoint.h"

namespace gptq {

// architecture, parameters, bytes, vocabulary, context, license, quantization, types{dtype: count},
// tensors[]{name, dtype, shape}. Works on models of unknown architecture too. `parameters` counts the weights
// of quantized linears, not their words.
Json InspectModel(const std::filesystem::path& path);

// The licence that a model's card or GGUF metadata name; null where they name none.
Json License(const CheckpointReader& reader);

}  // namespace gptq
