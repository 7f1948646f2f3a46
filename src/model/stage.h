// What a block is made of, as everybody sees it: stages of linears, and the sequences that go through them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compute/backend.h"
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

struct KvCacheLayer;

// A sequence whose keys and values go to a cache.
struct CachedSequence {
  KvCacheLayer* layer = nullptr;  // of the block at hand
  int64_t first_position = 0;     // of the sequence's first row: the tokens before it are in the cache
  int64_t longest = 0;            // tokens that it will have at most
};

// Sequences on their way through a block: rows are tokens, the sequences one after the other.
struct BlockState {
  int64_t sequences = 1;
  int64_t tokens = 0;   // of each sequence
  Matrix hidden;        // [sequences * tokens, hidden], the residual stream
  Matrix input;         // [sequences * tokens, in], what the next stage's inputs are made of
  int64_t longest = 0;  // tokens that a sequence will have at most; 0: these
  std::vector<CachedSequence> cached = {};  // each of the sequences; empty: all begin here, without a cache

  // Of a matrix with the rows of all sequences.
  MatrixView SequenceRows(MatrixView x, size_t sequence) const {
    return x.Rows(static_cast<int64_t>(sequence) * tokens, tokens);
  }
};

// Linears of a stage that read the same input, and so share one Hessian.
struct LinearGroup {
  size_t first = 0, count = 0;  // of the stage's linears
  int64_t expert = -1;  // that they belong to; they read only the tokens that go to it. -1: all tokens
};

// The inputs of all groups can be computed from one matrix, the block state's `input`.
struct Stage {
  std::string_view
      name;  // "attention_input", "attention_latent", "attention_output", "mlp_input", "mlp_output"
  std::vector<LinearLayer> linears;
  std::vector<LinearGroup> groups;
  bool adds_to_hidden = false;  // their output goes to the residual stream; else that stays as it is
  // What the output of the stage's linear is multiplied by as it is added; 0: there are more of them, or it
  // is normalized first.
  double added_scale = 0;

  // That a token multiplies, experts' by their share of the tokens.
  double MultipliedWeights(const ModelSpec& spec) const;
  // Makes a group of linears [first, end).
  void CloseGroup(size_t first, int64_t expert = -1) {
    groups.push_back({first, linears.size() - first, expert});
  }
};

// A role's linear with its bias, if there is one. `part`: expert.
LinearLayer LoadLinear(const ModelSpec& spec, WeightSource& source, std::string_view role, int64_t block,
                       int64_t outputs, int64_t inputs, int64_t part = -1);
// A role's norm; its bias if there is one. Nothing is read where the model's norms have no weights.
NormLayer LoadNorm(const ModelSpec& spec, WeightSource& source, std::string_view role, int64_t block,
                   int64_t width);
// The linear's output in the backend's scratch memory.
MatrixView Apply(Backend& backend, const LinearLayer& linear, MatrixView input, int scratch_slot);
// The same for several linears of one input, at most kMostTogether; slots from `first_slot`.
inline constexpr size_t kMostTogether = 3;
std::array<MatrixView, kMostTogether> ApplyTogether(Backend& backend, std::span<const LinearLayer> linears,
                                                    MatrixView input, int first_slot);
void Normalize(Backend& backend, const ModelSpec& spec, const NormLayer& norm, MatrixView x, MatrixView y);

}  // namespace gptq
