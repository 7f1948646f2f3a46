#include "model/block.h"

#include <algorithm>
#include <cmath>

namespace gptq {
namespace {

enum StageIndex : size_t { kAttentionInput, kAttentionOutput, kMlpInput, kMlpOutput };

LinearLayer LoadLinear(const ModelSpec& spec, WeightSource& source, std::string_view role, int64_t block, int64_t outputs,
                       int64_t inputs) {
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

Matrix Apply(Backend& backend, const LinearLayer& linear, MatrixView input) {
  Matrix out(input.rows, linear.weight.rows());
  backend.Linear(input, linear.weight, linear.bias, out.view());
  return out;
}

void Normalize(Backend& backend, const ModelSpec& spec, const NormLayer& norm, MatrixView x, MatrixView y) {
  backend.Norm(spec.norm, spec.norm_epsilon, x, norm.weight, norm.bias, y);
}

// The next stage's input: the residual stream, normalized first where the family does so.
Matrix BranchInput(Backend& backend, const ModelSpec& spec, const NormLayer& norm, BlockState& state) {
  Matrix input(state.hidden.rows(), state.hidden.columns());
  if (spec.block == BlockShape::kPreNorm) {
    Normalize(backend, spec, norm, state.hidden.view(), input.view());
  } else {
    std::copy_n(state.hidden.data(), state.hidden.view().elements(), input.data());
  }
  return input;
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
  stages_[kAttentionOutput].linears.push_back(load("attention_output", spec.hidden, spec.query_width()));
  stages_[kMlpInput].name = "mlp_input";
  if (spec.gated) stages_[kMlpInput].linears.push_back(load("gate", spec.intermediate, spec.hidden));
  stages_[kMlpInput].linears.push_back(load("up", spec.intermediate, spec.hidden));
  stages_[kMlpOutput].name = "mlp_output";
  stages_[kMlpOutput].linears.push_back(load("down", spec.hidden, spec.intermediate));
}

void Block::Begin(Backend& backend, BlockState& state) const {
  state.input = BranchInput(backend, spec_, attention_norm_, state);
}

void Block::Attend(Backend& backend, const RotaryTable& rotary, BlockState& state, KvCacheLayer* cache) const {
  const std::vector<LinearLayer>& linears = stages_[kAttentionInput].linears;
  Matrix query = Apply(backend, linears[0], state.input.view());
  Matrix key = Apply(backend, linears[1], state.input.view());
  Matrix value = Apply(backend, linears[2], state.input.view());
  if (spec_.positions == PositionKind::kRotary) {
    backend.Rotate(rotary, state.first_position, state.tokens, spec_.head_dim, query.view());
    backend.Rotate(rotary, state.first_position, state.tokens, spec_.head_dim, key.view());
  }
  AttentionShape shape;
  shape.sequences = state.sequences;
  shape.query_tokens = state.tokens;
  shape.key_tokens = state.first_position + state.tokens;
  shape.key_stride = shape.key_tokens;
  shape.heads = spec_.heads;
  shape.kv_heads = spec_.kv_heads;
  shape.head_dim = spec_.head_dim;
  shape.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec_.head_dim)));
  const float* keys = key.data();
  const float* values = value.data();
  if (cache != nullptr) {
    CHECK(state.sequences == 1 && shape.key_tokens <= cache->keys.rows());
    const int64_t offset = state.first_position * spec_.kv_width();
    std::copy_n(key.data(), key.view().elements(), cache->keys.data() + offset);
    std::copy_n(value.data(), value.view().elements(), cache->values.data() + offset);
    keys = cache->keys.data();
    values = cache->values.data();
  } else {
    CHECK(state.first_position == 0);
  }
  // The input is used up; its memory serves the output where the widths agree.
  if (state.input.columns() != query.columns()) state.input = Matrix(query.rows(), query.columns());
  backend.Attend(shape, query.view(), keys, values, state.input.view());
}

void Block::AddBranch(Backend& backend, const LinearLayer& output, const NormLayer& norm, BlockState& state) const {
  Matrix branch = Apply(backend, output, state.input.view());
  state.input = Matrix();
  backend.Add(state.hidden.view(), branch.view());
  if (spec_.block == BlockShape::kPostNorm) Normalize(backend, spec_, norm, state.hidden.view(), state.hidden.view());
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
      state.input = BranchInput(backend, spec_, mlp_norm_, state);
      return;
    case kMlpInput: {
      Matrix first = Apply(backend, linears[0], state.input.view());
      if (spec_.gated) {
        Matrix up = Apply(backend, linears[1], state.input.view());
        const MatrixView factor = up.view();
        backend.Activate(spec_.activation, first.view(), &factor);
      } else {
        backend.Activate(spec_.activation, first.view(), nullptr);
      }
      state.input = std::move(first);
      return;
    }
    case kMlpOutput:
      AddBranch(backend, linears[0], mlp_norm_, state);
      return;
  }
  CHECK(false);
}

void Block::Forward(Backend& backend, const RotaryTable& rotary, BlockState& state, KvCacheLayer* cache) const {
  Begin(backend, state);
  for (size_t stage = 0; stage < stages_.size(); ++stage) Advance(backend, stage, rotary, state, cache);
}

}  // namespace gptq
