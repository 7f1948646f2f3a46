#include "model/attention_layer.h"

#include <algorithm>

namespace gptq {
namespace {

// Scratch slots: the first three hold queries, keys and values, in this order.
enum AttentionSlot : int { kQuery, kKey, kValue, kWork, kLatent, kRotaryKey };

}  // namespace

AttentionLayer::AttentionLayer(const ModelSpec& spec, int64_t index, WeightSource& source,
                               std::vector<Stage>& stages)
    : spec_(spec), layer_(spec.layer[static_cast<size_t>(index)]) {
  if (spec.latent.rank > 0) {
    AddLatentStages(index, source, stages);
  } else {
    AddPlainStage(index, source, stages);
  }
  if (spec.query_key_norm != HeadNorm::kNone) {
    query_norm_ = LoadHeadNorm("query_norm", index, spec.heads, source);
    key_norm_ = LoadHeadNorm("key_norm", index, spec.kv_heads, source);
  }
  Stage output;
  output.name = "attention_output";
  output.adds_to_hidden = true;
  output.linears.push_back(
      LoadLinear(spec, source, "attention_output", index, spec.hidden, spec.attention_width()));
  output.CloseGroup(0);
  stages.push_back(std::move(output));
}

void AttentionLayer::AddPlainStage(int64_t index, WeightSource& source, std::vector<Stage>& stages) const {
  Stage input;
  input.name = "attention_input";
  const auto add = [&](std::string_view role, int64_t outputs) {
    input.linears.push_back(LoadLinear(spec_, source, role, index, outputs, spec_.hidden));
  };
  if (spec_.Has("query_key_value")) {
    add("query_key_value", spec_.query_width() + spec_.kv_width() + spec_.value_width());
  } else {
    add("query", spec_.query_width());
    add("key", spec_.kv_width());
    add("value", spec_.value_width());
  }
  input.CloseGroup(0);
  stages.push_back(std::move(input));
}

void AttentionLayer::AddLatentStages(int64_t index, WeightSource& source, std::vector<Stage>& stages) {
  const LatentSpec& latent = spec_.latent;
  Stage input, second;
  input.name = "attention_input";
  second.name = "attention_latent";
  if (latent.query_rank > 0) {
    input.linears.push_back(LoadLinear(spec_, source, "query_down", index, latent.query_rank, spec_.hidden));
    query_latent_norm_ = LoadNorm(spec_, source, "query_down_norm", index, latent.query_rank);
    second.linears.push_back(
        LoadLinear(spec_, source, "query_up", index, spec_.query_width(), latent.query_rank));
    second.CloseGroup(0);
  } else {
    input.linears.push_back(LoadLinear(spec_, source, "query", index, spec_.query_width(), spec_.hidden));
  }
  input.linears.push_back(
      LoadLinear(spec_, source, "key_value_down", index, latent.rank + latent.rotary_dim, spec_.hidden));
  key_latent_norm_ = LoadNorm(spec_, source, "key_value_down_norm", index, latent.rank);
  const int64_t outputs = spec_.heads * (latent.plain_dim + latent.value_dim);
  second.linears.push_back(LoadLinear(spec_, source, "key_value_up", index, outputs, latent.rank));
  second.CloseGroup(second.linears.size() - 1);
  input.CloseGroup(0);
  stages.push_back(std::move(input));
  stages.push_back(std::move(second));
}

NormLayer AttentionLayer::LoadHeadNorm(std::string_view role, int64_t index, int64_t heads,
                                       WeightSource& source) const {
  if (spec_.query_key_norm == HeadNorm::kHead) return LoadNorm(spec_, source, role, index, spec_.head_dim);
  if (spec_.query_key_norm == HeadNorm::kFull)
    return LoadNorm(spec_, source, role, index, heads * spec_.head_dim);
  NormLayer norm;
  if (spec_.Name(role, index, 0) == spec_.Name(role, index, 1)) {  // one tensor [heads, head_dim]
    const Weight stored = source.Matrix(spec_.Name(role, index), heads, spec_.head_dim);
    norm.weight.resize(static_cast<size_t>(heads * spec_.head_dim));
    stored.ReadRows(0, heads, norm.weight.data());
  } else {
    for (int64_t head = 0; head < heads; ++head) {
      const std::vector<float> weight =
          source.Vector(spec_.Name(role, index, head), "weight", spec_.head_dim);
      norm.weight.insert(norm.weight.end(), weight.begin(), weight.end());
    }
  }
  for (float& weight : norm.weight) weight += spec_.norm_offset;
  return norm;
}

void AttentionLayer::NormalizeHeads(Backend& backend, const NormLayer& norm, MatrixView x) const {
  if (spec_.query_key_norm == HeadNorm::kNone) return;
  if (spec_.query_key_norm != HeadNorm::kFull) x = {x.data, x.elements() / spec_.head_dim, spec_.head_dim};
  Normalize(backend, spec_, norm, x, x);
}

AttentionLayer::Projections AttentionLayer::Split(Backend& backend, MatrixView fused) const {
  const int64_t d = spec_.head_dim, sharing = spec_.heads / spec_.kv_heads;
  Projections split{backend.Scratch(kQuery, fused.rows, spec_.query_width()),
                    backend.Scratch(kKey, fused.rows, spec_.kv_width()),
                    backend.Scratch(kValue, fused.rows, spec_.value_width())};
  if (spec_.fused_layout == FusedLayout::kConcatenated) {
    int64_t column = 0;
    for (const MatrixView& part : {split.query, split.key, split.value}) {
      backend.CopyColumns(fused, {column, 0}, part, {}, 1, part.columns);
      column += part.columns;
    }
    return split;
  }
  const int64_t group = (sharing + 2) * d;
  backend.CopyColumns(fused, {0, group}, split.query, {0, sharing * d}, spec_.kv_heads, sharing * d);
  backend.CopyColumns(fused, {sharing * d, group}, split.key, {0, d}, spec_.kv_heads, d);
  backend.CopyColumns(fused, {(sharing + 1) * d, group}, split.value, {0, d}, spec_.kv_heads, d);
  return split;
}

void AttentionLayer::Rotate(Backend& backend, const PositionTables& positions, const BlockState& state,
                            int64_t head_dim, int64_t first_dimension, MatrixView x) const {
  if (!layer_.rotary) return;
  const auto rotate = [&](int64_t longest, int64_t first_position, MatrixView rows) {
    backend.Rotate(positions.Rotary(layer_, longest), first_position, state.tokens, head_dim, first_dimension,
                   rows);
  };
  if (state.cached.empty()) return rotate(state.longest > 0 ? state.longest : state.tokens, 0, x);
  for (size_t s = 0; s < state.cached.size(); ++s)
    rotate(state.cached[s].longest, state.cached[s].first_position, state.SequenceRows(x, s));
}

AttentionLayer::Projections AttentionLayer::ProjectPlain(Backend& backend, const Stage& stage,
                                                         const PositionTables& positions,
                                                         const BlockState& state) const {
  Projections result;
  if (stage.linears.size() == 1) {
    result = Split(backend, Apply(backend, stage.linears[0], state.input.view(), kWork));
  } else {
    const auto [query, key, value] = ApplyTogether(backend, stage.linears, state.input.view(), kQuery);
    result = {query, key, value};
  }
  NormalizeHeads(backend, query_norm_, result.query);
  NormalizeHeads(backend, key_norm_, result.key);
  if (spec_.clip_qkv > 0) {
    for (const MatrixView& part : {result.query, result.key, result.value})
      backend.Clamp(part, static_cast<float>(spec_.clip_qkv));
  }
  Rotate(backend, positions, state, spec_.head_dim, 0, result.query);
  Rotate(backend, positions, state, spec_.head_dim, 0, result.key);
  return result;
}

MatrixView AttentionLayer::LatentInput(Backend& backend, const std::vector<Stage>& stages, size_t group,
                                       MatrixView x) const {
  const LatentSpec& latent = spec_.latent;
  const bool query = latent.query_rank > 0 && group == 0;
  const MatrixView down = Apply(backend, stages[0].linears[query ? 0 : 1], x, kWork);
  const NormLayer& norm = query ? query_latent_norm_ : key_latent_norm_;
  const MatrixView input = backend.Scratch(kLatent, x.rows, query ? latent.query_rank : latent.rank);
  backend.CopyColumns(down, {}, input, {}, 1, input.columns);
  backend.Norm(spec_.norm, latent.norm_epsilon, input, norm.weight, norm.bias, input);
  return input;
}

AttentionLayer::Projections AttentionLayer::ProjectLatent(Backend& backend, const std::vector<Stage>& stages,
                                                          const PositionTables& positions,
                                                          const BlockState& state) const {
  const LatentSpec& latent = spec_.latent;
  const MatrixView x = state.input.view();
  const bool low_rank_query = latent.query_rank > 0;
  Projections result;
  result.query = low_rank_query
                     ? Apply(backend, stages[1].linears[0], LatentInput(backend, stages, 0, x), kQuery)
                     : Apply(backend, stages[0].linears[0], x, kQuery);
  Rotate(backend, positions, state, spec_.head_dim, latent.plain_dim, result.query);

  const MatrixView compressed = LatentInput(backend, stages, low_rank_query ? 1 : 0, x);
  // Behind the latent, one rotary key for all heads.
  const MatrixView rotary_key = backend.Scratch(kRotaryKey, x.rows, latent.rotary_dim);
  const MatrixView down =
      backend.Scratch(kWork, x.rows, latent.rank + latent.rotary_dim);  // as LatentInput left it
  backend.CopyColumns(down, {latent.rank, 0}, rotary_key, {}, 1, latent.rotary_dim);
  Rotate(backend, positions, state, latent.rotary_dim, 0, rotary_key);

  const MatrixView up = Apply(backend, stages[1].linears.back(), compressed, kWork);
  const int64_t stride = latent.plain_dim + latent.value_dim;
  result.key = backend.Scratch(kKey, x.rows, spec_.kv_width());
  result.value = backend.Scratch(kValue, x.rows, spec_.value_width());
  backend.CopyColumns(up, {0, stride}, result.key, {0, spec_.head_dim}, spec_.heads, latent.plain_dim);
  backend.CopyColumns(rotary_key, {0, 0}, result.key, {latent.plain_dim, spec_.head_dim}, spec_.heads,
                      latent.rotary_dim);
  backend.CopyColumns(up, {latent.plain_dim, stride}, result.value, {0, latent.value_dim}, spec_.heads,
                      latent.value_dim);
  return result;
}

AttentionLayer::Projections AttentionLayer::Project(Backend& backend, const std::vector<Stage>& stages,
                                                    const PositionTables& positions,
                                                    const BlockState& state) const {
  return spec_.latent.rank > 0 ? ProjectLatent(backend, stages, positions, state)
                               : ProjectPlain(backend, stages[0], positions, state);
}

AttentionShape AttentionLayer::ShapeOf(const PositionTables& positions, const BlockState& state) const {
  AttentionShape shape;
  shape.sequences = state.sequences;
  shape.query_tokens = state.tokens;
  shape.key_tokens = state.tokens;
  shape.key_stride = shape.key_tokens;
  shape.heads = spec_.heads;
  shape.kv_heads = spec_.kv_heads;
  shape.head_dim = spec_.head_dim;
  shape.value_dim = spec_.value_dim;
  shape.scale = static_cast<float>(layer_.attention_scale);
  shape.window = layer_.window;
  shape.causal = spec_.causal;
  shape.softcap = static_cast<float>(spec_.attention_softcap);
  shape.key_bias = positions.key_bias();
  shape.key_bias_stride = positions.positions();
  return shape;
}

std::vector<float> AttentionLayer::ReceivedAttention(Backend& backend, const std::vector<Stage>& stages,
                                                     const PositionTables& positions,
                                                     const BlockState& state) const {
  const Projections projected = Project(backend, stages, positions, state);
  std::vector<float> received(static_cast<size_t>(projected.key.rows));
  backend.ReceivedAttention(ShapeOf(positions, state), projected.query, projected.key.data, received);
  return received;
}

void AttentionLayer::Run(Backend& backend, const std::vector<Stage>& stages, const PositionTables& positions,
                         BlockState& state) const {
  const auto [query, key, value] = Project(backend, stages, positions, state);
  AttentionShape shape = ShapeOf(positions, state);
  backend.Resize(state.input, query.rows, spec_.attention_width());  // the old one is used up
  const MatrixView out = state.input.view();
  if (state.cached.empty()) return backend.Attend(shape, query, key.data, value.data, out);
  CHECK(static_cast<int64_t>(state.cached.size()) == state.sequences && spec_.causal);
  shape.sequences = 1;
  for (size_t s = 0; s < state.cached.size(); ++s) {
    const CachedSequence& cached = state.cached[s];
    shape.key_tokens = shape.key_stride = cached.first_position + state.tokens;
    cached.layer->keys.Write(backend, cached.first_position, state.SequenceRows(key, s));
    cached.layer->values.Write(backend, cached.first_position, state.SequenceRows(value, s));
    backend.Attend(shape, state.SequenceRows(query, s), cached.layer->keys.rows(),
                   cached.layer->values.rows(), state.SequenceRows(out, s));
  }
}

}  // namespace gptq
