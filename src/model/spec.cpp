#include "model/spec.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "model/field_reader.h"

namespace gptq {
namespace {

constexpr double kMostScale = 1e6;  // published models stay far below

void ReadSizes(const FieldReader& read, ModelSpec* spec) {
  spec->hidden = read.Count("hidden", 0);
  spec->intermediate = read.Count("intermediate", 0);
  spec->layers = read.Count("layers", 0, 10000);
  spec->heads = read.Count("heads", 0, 65536);
  spec->kv_heads = read.Count("kv_heads", spec->heads, 65536);
  if (spec->heads % spec->kv_heads != 0) {
    throw Error(Concat(spec->heads, " heads cannot share ", spec->kv_heads, " key/value heads evenly"),
                spec->where, "correct the file");
  }
  const bool divides = spec->hidden % spec->heads == 0;
  spec->head_dim = read.Count("head_dim", divides ? spec->hidden / spec->heads : 0, 65536);
  spec->value_dim = spec->head_dim;
  spec->vocabulary = read.Count("vocabulary", 0, int64_t{1} << 26);
  spec->embedding_width = read.Count("embedding_width", spec->hidden);
  spec->max_positions = read.Count("max_positions", 0, int64_t{1} << 30);
}

void ReadLatent(const FieldReader& read, ModelSpec* spec) {
  LatentSpec& latent = spec->latent;
  latent.rank = read.CountOrNone("latent_rank");
  if (latent.rank == 0) return;
  latent.query_rank = read.CountOrNone("latent_query_rank");
  latent.plain_dim = read.Count("latent_plain_dim", 0, 65536);
  latent.rotary_dim = read.Count("latent_rotary_dim", 0, 65536);
  latent.value_dim = read.Count("latent_value_dim", 0, 65536);
  latent.norm_epsilon = read.Number("latent_norm_epsilon", 1e-6, 0, 1);
  spec->kv_heads = spec->heads;
  spec->head_dim = latent.plain_dim + latent.rotary_dim;
  spec->value_dim = latent.value_dim;
}

void ReadExperts(const FieldReader& read, ModelSpec* spec) {
  ExpertSpec& experts = spec->experts;
  experts.experts = read.CountOrNone("experts", 65536);
  if (experts.experts == 0) return;
  experts.per_token = read.Count("experts_per_token", 0, experts.experts);
  experts.intermediate = read.Count("expert_intermediate", 0);
  experts.shared_intermediate = read.CountOrNone("shared_expert_intermediate");
  experts.sigmoid = read.Choice<bool>("router_scores", false, {{"softmax", false}, {"sigmoid", true}});
  experts.normalized = read.Flag("router_normalized", false);
  experts.scale = read.Number("router_scale", 1.0, 0, kMostScale);
  experts.groups = read.Count("router_groups", 1, experts.experts);
  experts.groups_per_token = read.Count("router_groups_per_token", experts.groups, experts.groups);
  experts.group_by_two =
      read.Choice<bool>("router_group_score", false, {{"best", false}, {"two_best", true}});
  const int64_t in_group = experts.experts / experts.groups;
  if (experts.experts % experts.groups != 0 || in_group < (experts.group_by_two ? 2 : 1) ||
      experts.groups_per_token * in_group < experts.per_token) {
    throw Error(Concat(experts.experts, " experts in ", experts.groups, " groups, of which ",
                       experts.groups_per_token, " give ", experts.per_token, " experts a token"),
                spec->where, "correct the file");
  }
}

void ReadNorms(const FieldReader& read, ModelSpec* spec) {
  spec->block =
      read.Choice<BlockShape>("block", BlockShape::kPreNorm,
                              {{"pre_norm", BlockShape::kPreNorm}, {"post_norm", BlockShape::kPostNorm}});
  spec->residual = read.Choice<ResidualShape>(
      "residual", ResidualShape::kSequential,
      {{"sequential", ResidualShape::kSequential}, {"parallel", ResidualShape::kParallel}});
  spec->norm = read.Choice<NormKind>("norm", {{"rms", NormKind::kRms}, {"layer", NormKind::kLayer}});
  spec->norm_epsilon = read.Number("norm_epsilon", 1e-5, 0, 1);
  spec->norm_offset = static_cast<float>(read.Number("norm_offset", 0, -1, 1));
  spec->norm_weights = read.Flag("norm_weights", true);
  spec->query_key_norm = read.Choice<HeadNorm>("query_key_norm", HeadNorm::kNone,
                                               {{"none", HeadNorm::kNone},
                                                {"head", HeadNorm::kHead},
                                                {"each_head", HeadNorm::kEachHead},
                                                {"full", HeadNorm::kFull}});
}

void ReadMlp(const FieldReader& read, ModelSpec* spec) {
  spec->activation =
      read.Choice<ActivationKind>("activation", {{"silu", ActivationKind::kSilu},
                                                 {"swish", ActivationKind::kSilu},
                                                 {"relu", ActivationKind::kRelu},
                                                 {"relu2", ActivationKind::kReluSquared},
                                                 {"gelu", ActivationKind::kGelu},
                                                 {"gelu_new", ActivationKind::kGeluTanh},
                                                 {"gelu_fast", ActivationKind::kGeluTanh},
                                                 {"gelu_pytorch_tanh", ActivationKind::kGeluTanh}});
  spec->gated = read.Flag("gated", true);
  spec->transposed_linears = read.Flag("transposed_linears", false);
}

RotarySpec ReadRotary(const FieldReader& read, const Json& config, const std::string& prefix,
                      const ModelSpec& spec) {
  RotarySource source;
  source.base = read.Number(prefix + "rotary_base", 10000.0, std::numeric_limits<double>::min(),
                            std::numeric_limits<double>::max());
  source.scaling = read.Value(prefix + "rotary_scaling");
  source.max_positions = static_cast<double>(spec.max_positions);
  const Json original = FindInConfig(config, "original_max_position_embeddings");
  source.original_positions = original.is_number() ? original.get<double>() : source.max_positions;
  const int64_t turned = spec.latent.rank > 0 ? spec.latent.rotary_dim : spec.head_dim;
  const double fraction = read.Number("rotary_fraction", 1.0, 0, 1);
  source.dimensions =
      read.Count("rotary_dimensions",
                 std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(turned) * fraction)));
  source.where = spec.where;
  if (source.dimensions % 2 != 0 || source.dimensions > turned) {
    throw Error(Concat("heads of width ", turned, " of which rotary turns ", source.dimensions), spec.where,
                "correct the file");
  }
  RotarySpec rotary = ReadRotarySpec(source);
  rotary.interleaved = read.Choice<bool>("rotary_pairs", false, {{"halves", false}, {"neighbours", true}});
  return rotary;
}

void ReadPositions(const FieldReader& read, const Json& config, ModelSpec* spec) {
  spec->positions = read.Choice<PositionKind>("positions", {{"rotary", PositionKind::kRotary},
                                                            {"learned", PositionKind::kLearned},
                                                            {"alibi", PositionKind::kAlibi},
                                                            {"none", PositionKind::kNone}});
  spec->position_offset = static_cast<int64_t>(read.Number("position_offset", 0, 0, 1024));
  spec->alibi.scaled = read.Flag("alibi_scaled", false);
  spec->alibi.bfloat16 = read.Flag("alibi_bfloat16", false);
  spec->causal = read.Flag("causal", true);
  if (!spec->causal && !read.Value("mask_token").is_null()) {
    spec->mask_token =
        static_cast<int32_t>(read.Number("mask_token", 0, 0, static_cast<double>(spec->vocabulary - 1)));
  }
  if (spec->positions == PositionKind::kRotary) {
    spec->rotary = ReadRotary(read, config, "", *spec);
    spec->window_rotary = ReadRotary(read, config, "window_", *spec);
  }
}

// Decoders that run their blocks several times.
void ReadLoops(const FieldReader& read, ModelSpec* spec) {
  spec->loops = read.Count("loops", 1, 1000);
  const Json weights = read.Value("loop_weights");
  spec->loop_weights.assign(static_cast<size_t>(spec->loops), 1.0);
  if (weights.is_null()) return;
  bool fits = weights.is_array() && weights.size() == spec->loop_weights.size();
  for (size_t i = 0; fits && i < weights.size(); ++i) {
    fits = weights[i].is_number() && weights[i].get<double>() >= 0 && weights[i].get<double>() <= kMostScale;
    if (fits) spec->loop_weights[i] = weights[i].get<double>();
  }
  if (!fits) {
    throw Error(Concat("loop_weights is ", Dump(weights), ", must be a number from 0 for each of ",
                       spec->loops, " loops"),
                spec->where, "correct the architecture file");
  }
}

double AttentionScale(const FieldReader& read, const ModelSpec& spec) {
  const double width = read.Number("attention_scale_width", static_cast<double>(spec.head_dim), 1e-6, 1e9);
  const double scale = read.Number("attention_scale", 1 / std::sqrt(width), 0, kMostScale);
  return read.Flag("rotary_scales_attention", false) ? scale * spec.rotary.score_factor : scale;
}

// What differs from layer to layer.
void ReadLayers(const FieldReader& read, ModelSpec* spec) {
  const int64_t window = read.CountOrNone("window", int64_t{1} << 30);
  const std::vector<bool> windowed = read.Layers("windowed_layers", window > 0, spec->layers);
  const bool rotary_in_windows = read.Value("rotary_layers") == "windowed";
  const std::vector<bool> rotary =
      rotary_in_windows ? windowed : read.Layers("rotary_layers", true, spec->layers);
  const std::vector<bool> experts = read.Layers("expert_layers", true, spec->layers);
  const bool by_layer = read.Flag("attention_scale_by_layer", false);
  const bool own_rotary = !read.Value("window_rotary_base").is_null();
  const double scale = AttentionScale(read, *spec);
  for (int64_t i = 0; i < spec->layers; ++i) {
    const auto place = static_cast<size_t>(i);
    LayerSpec layer;
    if (windowed[place]) layer.window = window;
    layer.rotary = spec->positions == PositionKind::kRotary && rotary[place];
    layer.window_rotary = own_rotary && windowed[place];
    layer.experts = spec->experts.experts > 0 && experts[place];
    layer.attention_scale = by_layer ? scale / static_cast<double>(i + 1) : scale;
    spec->layer.push_back(layer);
  }
  if (!spec->causal && window > 0)
    throw Error("windows in a model that sees both ways", spec->where, "such models are not supported");
}

void ReadScalars(const FieldReader& read, ModelSpec* spec) {
  spec->embedding_scale = read.Value("embedding_scale") == "sqrt_hidden"
                              ? std::sqrt(static_cast<double>(spec->hidden))
                              : read.Number("embedding_scale", 1, -kMostScale, kMostScale);
  spec->residual_scale = read.Number("residual_scale", 1, -kMostScale, kMostScale);
  spec->logit_scale = read.Number("logit_scale", 1, -kMostScale, kMostScale) /
                      read.Number("logit_divisor", 1, 1 / kMostScale, kMostScale);
  spec->attention_softcap = read.Number("attention_softcap", 0, 0, kMostScale);
  spec->logit_softcap = read.Number("logit_softcap", 0, 0, kMostScale);
  spec->clip_qkv = read.Number("clip_qkv", 0, 0, kMostScale);
}

std::map<std::string, std::string, std::less<>> NamesOfRoles(const Json& rules,
                                                             const Architecture& architecture,
                                                             const Json& config, std::string_view where) {
  std::map<std::string, std::string, std::less<>> names;
  for (const auto& [role, rule] : rules.items()) {
    const Json name = EvaluateRule(rule, config, {architecture.name, role, where});
    if (name.is_null()) continue;
    if (!name.is_string())
      throw Error(Concat("the name of '", role, "' is ", Dump(name)), architecture.origin,
                  "correct the file");
    names[role] = name.get<std::string>();
  }
  return names;
}

void ReadNames(const Architecture& architecture, const Json& config, std::string_view where,
               ModelSpec* spec) {
  spec->tensor_names = NamesOfRoles(architecture.json.at("tensors"), architecture, config, where);
  if (architecture.json.contains("gguf"))
    spec->gguf_names = NamesOfRoles(architecture.json.at("gguf").at("tensors"), architecture, config, where);
  spec->optional_prefix = architecture.json.value("optional_prefix", "");
  if (spec->Has("query_key_value")) {
    spec->fused_layout =
        FieldReader(architecture, config, where)
            .Choice<FusedLayout>("fused_layout", {{"concatenated", FusedLayout::kConcatenated},
                                                  {"grouped", FusedLayout::kGrouped}});
  }
}

void CheckRequiredValues(const Architecture& architecture, const Json& config, std::string_view where) {
  if (!architecture.json.contains("required_values")) return;
  for (const auto& [key, value] : architecture.json.at("required_values").items()) {
    const Json found = FindInConfig(config, key);
    if (!found.is_null() && found != value) {
      throw Error(Concat("key '", key, "' is ", Dump(found), "; only ", Dump(value), " is supported"), where,
                  "describe the model in an architecture file and pass it by --architecture");
    }
  }
}

void Replace(std::string& text, std::string_view what, int64_t number) {
  const size_t place = text.find(what);
  if (place != std::string::npos) text.replace(place, what.size(), std::to_string(number));
}

}  // namespace

std::string ModelSpec::Name(std::string_view role, int64_t block_number, int64_t part) const {
  const auto found = tensor_names.find(role);
  if (found == tensor_names.end()) {
    throw Error(Concat("architecture '", architecture, "' names no tensor for '", role, "'"), where,
                "add it to the architecture file");
  }
  std::string name = found->second;
  Replace(name, "{block}", block_number);
  Replace(name, "{expert}", part);
  Replace(name, "{head}", part);
  return name;
}

void ModelSpec::CheckPredictsNext() const {
  if (causal) return;
  throw Error("this model's tokens see those behind them, so that it predicts no next token", where,
              "quantize, logits and inspect work; perplexity, tasks and generation need a causal model");
}

void ModelSpec::DropPrefix() {
  for (auto& [role, name] : tensor_names) {
    if (name.starts_with(optional_prefix)) name.erase(0, optional_prefix.size());
  }
}

ModelSpec BuildSpec(const Architecture& architecture, const Json& config, std::string_view where) {
  if (!config.is_object()) throw Error("not a JSON object", where, "is this a model's config.json?");
  ModelSpec spec;
  spec.architecture = architecture.name;
  spec.where = where;
  CheckRequiredValues(architecture, config, where);
  ReadNames(architecture, config, where, &spec);

  const FieldReader read(architecture, config, where);
  ReadSizes(read, &spec);
  ReadLatent(read, &spec);
  ReadExperts(read, &spec);
  ReadNorms(read, &spec);
  ReadMlp(read, &spec);
  spec.tied_head = read.Flag("tied_head", false);
  ReadScalars(read, &spec);
  ReadPositions(read, config, &spec);
  ReadLayers(read, &spec);
  ReadLoops(read, &spec);
  return spec;
}

}  // namespace gptq
