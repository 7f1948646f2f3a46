// One transformer block as a sequence of stages: the steps up to and including the linears that read one
// input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compute/backend.h"
#include "model/kv_cache.h"
#include "model/spec.h"
#include "model/weight_source.h"

namespace gptq {

// A linear layer: out = weight x + bias. The bias may be empty.
struct LinearLayer {
  std::string name;  // Hugging Face module name, "model.layers.0.self_attn.q_proj"
  Weight weight;
  std::vector<float> bias;
};

struct NormLayer {
  std::vector<float> weight, bias;  // may be empty
};

// Sequences on their way through a block: rows are tokens, the sequences one after the other.
struct BlockState {
  int64_t sequences = 1;
  int64_t tokens = 0;          // of each sequence
  int64_t first_position = 0;  // of each sequence's first row; > 0 only with a cache (and one sequence)
  Matrix hidden;               // [sequences * tokens, hidden], the residual stream
  Matrix input;                // [sequences * tokens, in], what the next stage's linears read
};

// The linears of a stage read the same input, and so share one Hessian.
struct Stage {
  std::string_view name;  // "attention_input", "attention_output", "mlp_input", "mlp_output"
  std::vector<LinearLayer> linears;
  bool adds_to_hidden = false;  // their output goes to the residual stream; else that stays as it is
};

// Forward = Begin, then Advance for each stage in order. The quantizer runs the same steps over all samples
// and looks at `state.input` on the way, before it replaces the stage's weights.
class Block {
 public:
  // Loads block `index`; missing tensors and wrong shapes are errors.
  Block(const ModelSpec& spec, int64_t index, WeightSource& source);

  std::vector<Stage>& stages() { return stages_; }
  const std::vector<Stage>& stages() const { return stages_; }

  // Computes the first stage's input from `state.hidden`.
  void Begin(Backend& backend, BlockState& state) const;
  // Runs the linears of stage `stage` on `state.input` and the steps up to the next stage's input; after the
  // last one `state.hidden` is the block's output and `state.input` is empty, but keeps its memory. Keys and
  // values go to `cache` if there is one.
  void Advance(Backend& backend, size_t stage, const RotaryTable& rotary, BlockState& state,
               KvCacheLayer* cache) const;
  void Forward(Backend& backend, const RotaryTable& rotary, BlockState& state, KvCacheLayer* cache) const;
  // At the first stage's input, of each token: the attention it gets from all queries of its sequence and all
  // heads, divided by the greatest of its sequence, at least 0.01, squared: the tokens' weights of RSQ (arXiv
  // 2503.01820).
  std::vector<float> ReceivedAttention(Backend& backend, const RotaryTable& rotary,
                                       const BlockState& state) const;

 private:
  AttentionShape ShapeOf(const BlockState& state) const;
  // Queries or keys of the state's tokens, rotated, in the backend's scratch memory.
  MatrixView Project(Backend& backend, const RotaryTable& rotary, const BlockState& state, int linear) const;
  void Attend(Backend& backend, const RotaryTable& rotary, BlockState& state, KvCacheLayer* cache) const;
  void AddBranch(Backend& backend, const LinearLayer& output, const NormLayer& norm, BlockState& state) const;

  const ModelSpec& spec_;
  NormLayer attention_norm_, mlp_norm_;
  std::vector<Stage> stages_;
};

}  // namespace gptq
