// Logits of given tokens.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "compute/backend.h"
#include "workflow/model_files.h"

namespace gptq {

struct LogitsResult {
  Tensor logits;                      // float32 [batch, tokens, vocabulary]
  std::vector<Tensor> hidden_states;  // if asked for: after each block, float32 [batch, tokens, hidden]
};

// `input_ids` int32 [batch, tokens]; `name` is its file, for messages.
LogitsResult ComputeLogits(ModelFiles& model, Backend& backend, const TensorView& input_ids,
                           const std::string& name, bool hidden_states = false, int activation_bits = 32);

// A safetensors file with `logits` and `hidden_after_block_N`.
void WriteLogits(const std::filesystem::path& path, bool overwrite, const LogitsResult& result);

}  // namespace gptq
