// What a GGUF file says beside its tensors: hyperparameters and vocabulary, the reverse of gguf_model.h.
#pragma once

#include <optional>
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
// Of a model that comes from a GGUF file: all that stands there, but for what says how it is stored.
GgufMetadata CopyGgufMetadata(const GgufFile& file, DType weights);

// rope_freqs.weight: by what each rotary frequency is divided (Llama 3's scaling); nothing for others.
std::optional<Tensor> GgufRotaryFactors(const ModelSpec& spec);

}  // namespace gptq
