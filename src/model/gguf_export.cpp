#include "model/gguf_export.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/error.h"
#include "model/config_rule.h"

namespace gptq {
namespace {

// enum llama_ftype of llama.h; of the K types the plain mixtures.
int64_t FileType(DType weights) {
  constexpr std::pair<DType, int64_t> kTypes[] = {
      {DType::kF32, 0},   {DType::kF16, 1},   {DType::kQ4_0, 2},  {DType::kQ4_1, 3},  {DType::kQ8_0, 7},
      {DType::kQ5_0, 8},  {DType::kQ5_1, 9},  {DType::kQ2_K, 10}, {DType::kQ3_K, 12}, {DType::kQ4_K, 15},
      {DType::kQ5_K, 17}, {DType::kQ6_K, 18}, {DType::kBF16, 32}};
  for (const auto& [type, number] : kTypes) {
    if (type == weights) return number;
  }
  return 1;
}

void AddStorage(DType weights, GgufMetadata& metadata) {
  metadata.emplace_back("general.file_type", GgufUint32(FileType(weights)));
  if (IsBlockType(weights)) metadata.emplace_back("general.quantization_version", GgufUint32(2));
}

std::optional<GgufValue> FromJson(const Json& value) {
  if (value.is_boolean()) return GgufBool(value.get<bool>());
  if (value.is_number_integer() && value >= 0 && value <= 0xffffffffLL)
    return GgufUint32(value.get<int64_t>());
  if (value.is_number()) return GgufFloat32(value.get<double>());
  if (value.is_string()) return GgufString(value.get<std::string>());
  const auto whole = [](const Json& entry) { return entry.is_number_integer(); };
  if (value.is_array() && !value.empty() && std::ranges::all_of(value, whole))
    return GgufInt32s(value.get<std::vector<int64_t>>());
  return std::nullopt;
}

// The section's constants are what GGUF does not say, but its readers do.
void CheckConstants(const Json& constants, const Json& config, const std::string& where) {
  for (const auto& [key, constant] : constants.items()) {
    const Json found = config.is_object() ? config.value(key, Json()) : Json();
    if (constant.is_null() || found.is_null() || key == "model_type" || key == "architectures") continue;
    if (constant.is_object()) {
      CheckConstants(constant, found, where);
    } else if (found != constant) {
      throw Error(Concat("GGUF cannot say that '", key, "' is ", Dump(found)), where, "write another format");
    }
  }
}

// Numbers of llama.h's gating functions.
int64_t GatingFunction(const ExpertSpec& experts) { return experts.sigmoid ? 2 : 1; }

// Blocks at the beginning whose MLP is none of experts.
int64_t LeadingDenseBlocks(const ModelSpec& spec) {
  const auto first = std::ranges::find_if(spec.layer, [](const LayerSpec& layer) { return layer.experts; });
  return first - spec.layer.begin();
}

// Of layers with a window; 0: there are none.
int64_t Window(const ModelSpec& spec) {
  int64_t window = 0;
  for (const LayerSpec& layer : spec.layer) window = std::max(window, layer.window);
  return window;
}

// What the spec counts, by the key's last part; 0 stands for what a model does not have.
int64_t CountFromSpec(const std::string& key, const ModelSpec& spec) {
  const ExpertSpec& experts = spec.experts;
  const LatentSpec& latent = spec.latent;
  const std::pair<const char*, int64_t> counts[] = {
      {"embedding_length", spec.hidden},
      {"feed_forward_length", spec.intermediate},
      {"block_count", spec.layers},
      {"attention.head_count", spec.heads},
      {"attention.head_count_kv", spec.kv_heads},
      {"attention.key_length", spec.head_dim},
      {"attention.value_length", spec.value_dim},
      {"attention.sliding_window", Window(spec)},
      {"attention.kv_lora_rank", latent.rank},
      {"attention.q_lora_rank", latent.query_rank},
      {"context_length", spec.max_positions},
      {"rope.dimension_count", spec.rotary.dimensions},
      {"expert_count", experts.experts},
      {"expert_used_count", experts.per_token},
      {"expert_feed_forward_length", experts.intermediate},
      {"expert_shared_feed_forward_length", experts.shared_intermediate},
      {"expert_gating_func", experts.experts == 0 ? 0 : GatingFunction(experts)},
      {"expert_group_count", experts.experts == 0 ? 0 : experts.groups},
      {"expert_group_used_count", experts.experts == 0 ? 0 : experts.groups_per_token}};
  for (const auto& [name, count] : counts) {
    if (key == name) return count;
  }
  return 0;
}

// The values that the spec has filled in, by the last part of their key.
std::optional<GgufValue> FromSpec(const std::string& key, const ModelSpec& spec) {
  if (const int64_t count = CountFromSpec(key, spec); count > 0) return GgufUint32(count);
  if (key == "attention.layer_norm_rms_epsilon" || key == "attention.layer_norm_epsilon")
    return GgufFloat32(spec.norm_epsilon);
  if (key == "rope.freq_base") return GgufFloat32(spec.rotary.base);
  if (key == "rope.freq_base_swa") return GgufFloat32(spec.window_rotary.base);
  if (key == "use_parallel_residual") return GgufBool(spec.residual == ResidualShape::kParallel);
  if (key == "leading_dense_block_count" && spec.experts.experts > 0)
    return GgufUint32(LeadingDenseBlocks(spec));
  if (key == "expert_weights_norm" && spec.experts.experts > 0) return GgufBool(spec.experts.normalized);
  if (key == "expert_weights_scale" && spec.experts.experts > 0) return GgufFloat32(spec.experts.scale);
  if (key == "attention.clamp_kqv" && spec.clip_qkv > 0) return GgufFloat32(spec.clip_qkv);
  if (key == "attention.sliding_window_pattern" && Window(spec) > 0) {
    std::vector<bool> windowed;
    for (const LayerSpec& layer : spec.layer) windowed.push_back(layer.window > 0);
    return GgufBools(windowed);
  }
  return std::nullopt;
}

void AddYarn(const std::string& prefix, const ModelSpec& spec, GgufMetadata& metadata) {
  const RotarySpec& rotary = spec.rotary;
  metadata.emplace_back(prefix + "yarn_beta_fast", GgufFloat32(rotary.beta_fast));
  metadata.emplace_back(prefix + "yarn_beta_slow", GgufFloat32(rotary.beta_slow));
  const double usual = 0.1 * std::log(rotary.factor) + 1;
  if (rotary.score_factor == 1 && std::abs(rotary.attention_factor - usual) > 1e-6)
    metadata.emplace_back(prefix + "attn_factor", GgufFloat32(rotary.attention_factor / usual));
  if (rotary.score_factor == 1 || rotary.factor <= 1) return;
  if (std::abs(rotary.attention_factor - 1) > 1e-6)  // our own: llama.cpp takes it for 1
    metadata.emplace_back(prefix + "yarn_attention_factor", GgufFloat32(rotary.attention_factor));
  const double all_dimensions = (std::sqrt(rotary.score_factor) - 1) / std::log(rotary.factor);
  metadata.emplace_back(prefix + "yarn_log_multiplier", GgufFloat32(all_dimensions));
}

void AddRotary(const std::string& prefix, const ModelSpec& spec, GgufMetadata& metadata) {
  const RotarySpec& rotary = spec.rotary;
  const bool long_rope = rotary.scaling == RotaryScaling::kLongRope;
  if (rotary.scaling == RotaryScaling::kLinear || rotary.scaling == RotaryScaling::kYarn) {
    metadata.emplace_back(prefix + "type",
                          GgufString(rotary.scaling == RotaryScaling::kYarn ? "yarn" : "linear"));
    metadata.emplace_back(prefix + "factor", GgufFloat32(rotary.factor));
  } else if (!long_rope) {
    return;
  }
  if (long_rope) metadata.emplace_back(prefix + "attn_factor", GgufFloat32(rotary.attention_factor));
  if (rotary.original_positions > 0) {
    metadata.emplace_back(prefix + "original_context_length",
                          GgufUint32(static_cast<int64_t>(rotary.original_positions)));
  }
  if (rotary.scaling == RotaryScaling::kYarn) AddYarn(prefix, spec, metadata);
}

void AddHyperparameters(const Architecture& architecture, const ModelSpec& spec, const Json& config,
                        GgufMetadata& metadata) {
  const std::string prefix = architecture.gguf_architecture + ".";
  const auto add = [&](const std::string& key, std::optional<GgufValue> value) {
    const bool known = std::ranges::any_of(metadata, [&](const auto& entry) { return entry.first == key; });
    if (value && !known) metadata.emplace_back(key, *std::move(value));
  };
  const Json& section = architecture.json.at("gguf");
  const Json only_written = section.value("metadata", Json::object());
  for (const auto& [key, rule] : only_written.items()) {
    std::optional<GgufValue> value =
        FromJson(EvaluateRule(rule, config, {architecture.name, key, spec.where}));
    add(prefix + key, value ? std::move(value) : FromSpec(key, spec));
  }
  for (const auto& [config_key, rule] : section.at("config").items()) {
    const Json key = rule.is_object() ? rule.value("key", Json()) : rule;
    if (!key.is_string()) continue;
    std::optional<GgufValue> value = FromSpec(key.get<std::string>(), spec);
    if (!value && rule.is_string()) value = FromJson(FindInConfig(config, config_key));
    add(prefix + key.get<std::string>(), std::move(value));
  }
  add(prefix + "vocab_size", GgufUint32(spec.vocabulary));
  if (spec.positions != PositionKind::kRotary) return;
  for (const char* key : {"rope.dimension_count", "attention.key_length", "attention.value_length"})
    add(prefix + key, FromSpec(key, spec));
  AddRotary(prefix + "rope.scaling.", spec, metadata);
}

void AddVocabulary(const GgufVocabulary& vocabulary, GgufMetadata& metadata) {
  const std::string prefix = "tokenizer.ggml.";
  const auto add = [&](const char* key, GgufValue value) {
    metadata.emplace_back(prefix + key, std::move(value));
  };
  add("model", GgufString(vocabulary.model));
  if (!vocabulary.pre.empty()) add("pre", GgufString(vocabulary.pre));
  add("tokens", GgufStrings(vocabulary.tokens));
  if (!vocabulary.scores.empty()) add("scores", GgufFloats(vocabulary.scores));
  if (!vocabulary.token_types.empty())
    add("token_type", GgufInt32s({vocabulary.token_types.begin(), vocabulary.token_types.end()}));
  if (!vocabulary.merges.empty()) add("merges", GgufStrings(vocabulary.merges));
  const auto id = [&](const char* key, std::optional<int64_t> value) {
    if (value) add(key, GgufUint32(*value));
  };
  id("bos_token_id", vocabulary.bos);
  id("eos_token_id", vocabulary.eos);
  id("eot_token_id", vocabulary.eot);
  id("padding_token_id", vocabulary.pad);
  id("unknown_token_id", vocabulary.unknown);
  id("seperator_token_id", vocabulary.separator);  // spelled so in GGUF
  const auto flag = [&](const char* key, std::optional<bool> value) {
    if (value) add(key, GgufBool(*value));
  };
  flag("add_bos_token", vocabulary.add_bos);
  flag("add_eos_token", vocabulary.add_eos);
  flag("add_space_prefix", vocabulary.add_space_prefix);
  flag("remove_extra_whitespaces", vocabulary.remove_extra_spaces);
  if (!vocabulary.character_map.empty()) add("precompiled_charsmap", GgufUint8s(vocabulary.character_map));
  if (vocabulary.chat_template)
    metadata.emplace_back("tokenizer.chat_template", GgufString(*vocabulary.chat_template));
}

}  // namespace

GgufMetadata MakeGgufMetadata(const Architecture& architecture, const ModelSpec& spec, const Json& config,
                              const GgufVocabulary& vocabulary, const GgufGeneral& general) {
  if (architecture.gguf_architecture.empty()) {
    throw Error(Concat("architecture '", architecture.name, "' has no GGUF form"), spec.where,
                "write another format");
  }
  CheckConstants(architecture.json.at("gguf").value("constants", Json::object()), config, spec.where);
  GgufMetadata metadata{{"general.architecture", GgufString(architecture.gguf_architecture)},
                        {"general.type", GgufString("model")},
                        {"general.name", GgufString(general.name)}};
  AddHyperparameters(architecture, spec, config, metadata);
  AddStorage(general.weights, metadata);
  AddVocabulary(vocabulary, metadata);
  return metadata;
}

GgufMetadata CopyGgufMetadata(const GgufFile& file, const ModelSpec& spec, DType weights) {
  const std::string architecture = file.String("general.architecture"), prefix = architecture + ".attention.";
  GgufMetadata metadata{{"general.architecture", GgufString(architecture)}};
  AddStorage(weights, metadata);
  const bool latent = spec.latent.rank > 0;
  std::set<std::string> replaced;
  if (latent) {
    for (const char* key : {"key_length", "value_length", "head_count_kv"}) {
      metadata.emplace_back(prefix + key, *FromSpec(std::string("attention.") + key, spec));
      replaced.insert({prefix + key, prefix + key + "_mla"});
    }
  }
  for (const auto& [key, value] : file.metadata()) {
    const bool storage = key == "general.architecture" || key == "general.file_type" ||
                         key == "general.quantization_version" || key == "general.alignment" ||
                         key.starts_with("split.") || key.starts_with("quantize.");
    if (!storage && !replaced.contains(key)) metadata.emplace_back(key, value);
  }
  return metadata;
}

std::map<std::string, Tensor> GgufRotaryFactors(const ModelSpec& spec) {
  std::map<std::string, Tensor> tensors;
  if (spec.positions != PositionKind::kRotary) return tensors;
  const auto add = [&](const char* name, const std::vector<double>& divisors) {
    Tensor tensor(DType::kF32, {static_cast<int64_t>(divisors.size())});
    std::ranges::transform(divisors, tensor.As<float>().begin(),
                           [](double divisor) { return static_cast<float>(divisor); });
    tensors.emplace(name, std::move(tensor));
  };
  if (spec.rotary.scaling == RotaryScaling::kLongRope) {
    add("rope_factors_short.weight", spec.rotary.short_factors);
    add("rope_factors_long.weight", spec.rotary.long_factors);
  }
  if (spec.rotary.scaling != RotaryScaling::kLlama3) return tensors;
  RotarySpec plain = spec.rotary;
  plain.scaling = RotaryScaling::kNone;
  std::vector<double> divisors = RotaryFrequencies(plain);
  const std::vector<double> scaled = RotaryFrequencies(spec.rotary);
  for (size_t i = 0; i < divisors.size(); ++i) divisors[i] /= scaled[i];
  add("rope_freqs.weight", divisors);
  return tensors;
}

}  // namespace gptq
