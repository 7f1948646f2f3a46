// What a GGUF file says beside its tensors: hyperparameters and vocabulary, the reverse of gguf_model.h.
#pragma once

#include <map>
#include <string>

#include "base/json.h"
#include "base/tensor.h"
#include "io/gguf_writer.h"
#include "model/architecture.h"
#include "model/spec.h"
#include "text/gguf_vocabulary.h"

namespace gptq {

struct GgufGeneral {
  std::string name;             // of the model
  DType weights = DType::kF16;  // of most linears, for general.file_type
};

// Of a model from a Hugging Face folder. Throws Error where the architecture has no GGUF form.
GgufMetadata MakeGgufMetadata(const Architecture& architecture, const ModelSpec& spec, const Json& config,
                              const GgufVocabulary& vocabulary, const GgufGeneral& general);
// Of a model that comes from a GGUF file: all that stands there, but for what says how it is stored. What the
// file may hold in two tensors (GgufPlace::joined_key) is then one.
GgufMetadata CopyGgufMetadata(const GgufFile& file, const ModelSpec& spec, DType weights);

// Tensors of what each rotary frequency is divided by (Llama 3's scaling and LongRoPE); none for others.
std::map<std::string, Tensor> GgufRotaryFactors(const ModelSpec& spec);

}  // namespace gptq
