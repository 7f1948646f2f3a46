// How much a model's files hold.
#pragma once

#include <cstdint>

#include "workflow/model_files.h"

namespace gptq {

// Weights that a stored tensor stands for; 0 for the tensors beside a quantized linear's codes.
int64_t StoredParameters(const CheckpointReader& reader, const std::string& name, const TensorView& view,
                         const std::optional<QuantizationConfig>& quantization);

struct ModelSize {
  int64_t bytes = 0;  // of all tensors
  // Of all matrices but those at the ends (token embedding, head, learned positions): codes, scales and
  // zeros, without the group index.
  double bits_per_weight = 0;
};

ModelSize MeasureSize(ModelFiles& model);

// path, bytes, bits_per_weight: what results say of a model.
Json SizeJson(ModelFiles& model);

}  // namespace gptq
