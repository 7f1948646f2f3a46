#include "model/block.h"

#include <algorithm>
#include <cmath>

namespace gptq {
namespace {

enum StageIndex : size_t { kAttentionInput, kAttentionOutput, kMlpInput, kMlpOutput };

LinearLayer LoadLinear(const ModelSpec& spec, WeightSource& source, std::string_view role, int64_t block,
                       int64_t outputs, int64_t inputs) {
  LinearLayer linear;
  linear.name = spec.Name(role, block);
  linear.weight = source.Matrix(linear.name, outputs, inputs);
  linear.bias = source.FindVector(linear.name, "bias", outputs).value_or(std::vector<float>{});
  return linear;
}

NormLayer LoadNorm(const ModelSpec& spec, WeightSource& source, std::string_view role, int64_t block) {
  const std::string name = spec.Name(role, block);
  return {source.Vector(name, "weight", spec.hidden),
          source.FindVector(name, "bias", spec.hidden).value_or(std::vector<float>{})};
}

// The linear's output in the backend's scratch memory.
MatrixView Apply(Backend& backend, const LinearLayer& linear, const Matrix& input, int scratch_slot) {
  const MatrixView out = backend.Scratch(scratch_slot, input.rows(), linear.weight.rows());
  backend.Linear(input.view(), linear.weight, linear.bias, out);
  return out;
}

void Normalize(Backend& backend, const ModelSpec& spec, const NormLayer& norm, MatrixView x, MatrixView y) {
  backend.Norm(spec.norm, spec.norm_epsilon, x, norm.weight, norm.bias, y);
}

// The next stage's input: the residual stream, normalized first where the family does so.
void MakeBranchInput(Backend& backend, const ModelSpec& spec, const NormLayer& norm, BlockState& state) {
  state.input.Resize(state.hidden.rows(), state.hidden.columns());
  if (spec.block == BlockShape::kPreNorm) {
    Normalize(backend, spec, norm, state.hidden.view(), state.input.view());
  } else {
    std::copy_n(state.hidden.data(), state.hidden.view().elements(), state.input.data());
  }
}

}  // namespace

Block::Block(const ModelSpec& spec, int64_t index, WeightSource& source) : spec_(spec) {
  const auto load = [&](std::string_view role, int64_t outputs, int64_t inputs) {
    return LoadLinear(spec, source, role, index, outputs, inputs);
  };
  attention_norm_ = LoadNorm(spec, source, "attention_norm", index);
  mlp_norm_ = LoadNorm(spec, source, "mlp_norm", index);
  stages_.resize(4);
  stages_[kAttentionInput].name = "attention_input";
  stages_[kAttentionInput].linears.push_back(load("query", spec.query_width(), spec.hidden));
  stages_[kAttentionInput].linears.push_back(load("key", spec.kv_width(), spec.hidden));
  stages_[kAttentionInput].linears.push_back(load("value", spec.kv_width(), spec.hidden));
  stages_[kAttentionOutput].name = "attention_output";
  stages_[kAttentionOutput].adds_to_hidden = true;
  stages_[kAttentionOutput].linears.push_back(load("attention_output", spec.hidden, spec.query_width()));
  stages_[kMlpInput].name = "mlp_input";
  if (spec.gated) stages_[kMlpInput].linears.push_back(load("gate", spec.intermediate, spec.hidden));
  stages_[kMlpInput].linears.push_back(load("up", spec.intermediate, spec.hidden));
  stages_[kMlpOutput].name = "mlp_output";
  stages_[kMlpOutput].adds_to_hidden = true;
  stages_[kMlpOutput].linears.push_back(load("down", spec.hidden, spec.intermediate));
}

void Block::Begin(Backend& backend, BlockState& state) const {
  MakeBranchInput(backend, spec_, attention_norm_, state);
}

AttentionShape Block::ShapeOf(const BlockState& state) const {
  AttentionShape shape;
  shape.sequences = state.sequences;
  shape.query_tokens = state.tokens;
  shape.key_tokens = state.first_position + state.tokens;
  shape.key_stride = shape.key_tokens;
  shape.heads = spec_.heads;
  shape.kv_heads = spec_.kv_heads;
  shape.head_dim = spec_.head_dim;
  shape.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec_.head_dim)));
  return shape;
}

MatrixView Block::Project(Backend& backend, const RotaryTable& rotary, const BlockState& state,
                          int linear) const {
  const LinearLayer& layer = stages_[kAttentionInput].linears[static_cast<size_t>(linear)];
  const MatrixView out = Apply(backend, layer, state.input, linear);
  if (spec_.positions == PositionKind::kRotary) {
    backend.Rotate(rotary, state.first_position, state.tokens, spec_.head_dim, out);
  }
  return out;
}

std::vector<float> Block::ReceivedAttention(Backend& backend, const RotaryTable& rotary,
                                            const BlockState& state) const {
  const MatrixView query = Project(backend, rotary, state, 0);
  const MatrixView key = Project(backend, rotary, state, 1);
  std::vector<float> received(static_cast<size_t>(state.hidden.rows()));
  backend.ReceivedAttention(ShapeOf(state), query, key.data, received);
  for (int64_t s = 0; s < state.sequences; ++s) {
    const std::span<float> tokens =
        std::span(received).subspan(static_cast<size_t>(s * state.tokens), static_cast<size_t>(state.tokens));
    const float greatest = *std::ranges::max_element(tokens);
    for (float& weight : tokens) {
      weight = std::max(weight / greatest, 0.01f);
      weight *= weight;
    }
  }
  return received;
}

void Block::Attend(Backend& backend, const RotaryTable& rotary, BlockState& state,
                   KvCacheLayer* cache) const {
  const MatrixView query = Project(backend, rotary, state, 0);
  const MatrixView key = Project(backend, rotary, state, 1);
  const MatrixView value = Apply(backend, stages_[kAttentionInput].linears[2], state.input, 2);
  const AttentionShape shape = ShapeOf(state);
  const float* keys = key.data;
  const float* values = value.data;
  if (cache != nullptr) {
    CHECK(state.sequences == 1 && shape.key_tokens <= cache->keys.rows());
    const int64_t offset = state.first_position * spec_.kv_width();
    std::copy_n(key.data, key.elements(), cache->keys.data() + offset);
    std::copy_n(value.data, value.elements(), cache->values.data() + offset);
    keys = cache->keys.data();
    values = cache->values.data();
  } else {
    CHECK(state.first_position == 0);
  }
  state.input.Resize(query.rows, query.columns);  // the old one is used up
  backend.Attend(shape, query, keys, values, state.input.view());
}

void Block::AddBranch(Backend& backend, const LinearLayer& output, const NormLayer& norm,
                      BlockState& state) const {
  backend.Add(state.hidden.view(), Apply(backend, output, state.input, 0));
  if (spec_.block == BlockShape::kPostNorm)
    Normalize(backend, spec_, norm, state.hidden.view(), state.hidden.view());
}

void Block::Advance(Backend& backend, size_t stage, const RotaryTable& rotary, BlockState& state,
                    KvCacheLayer* cache) const {
  const std::vector<LinearLayer>& linears = stages_[stage].linears;
  switch (stage) {
    case kAttentionInput:
      Attend(backend, rotary, state, cache);
      return;
    case kAttentionOutput:
      AddBranch(backend, linears[0], attention_norm_, state);
      MakeBranchInput(backend, spec_, mlp_norm_, state);
      return;
    case kMlpInput: {
      const MatrixView activated = Apply(backend, linears[0], state.input, 0);
      if (spec_.gated) {
        const MatrixView factor = Apply(backend, linears[1], state.input, 1);
        backend.Activate(spec_.activation, activated, &factor);
      } else {
        backend.Activate(spec_.activation, activated, nullptr);
      }
      backend.SwapScratch(0, state.input);
      return;
    }
    case kMlpOutput:
      AddBranch(backend, linears[0], mlp_norm_, state);
      state.input.Resize(0, 0);
      return;
  }
  CHECK(false);
}

void Block::Forward(Backend& backend, const RotaryTable& rotary, BlockState& state,
                    KvCacheLayer* cache) const {
  Begin(backend, state);
  for (size_t stage = 0; stage < stages_.size(); ++stage) Advance(backend, stage, rotary, state, cache);
}

}  // namespace gptq
