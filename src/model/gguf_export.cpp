#include "model/gguf_export.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

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
  return std::nullopt;
}

// The values that the spec has filled in, by the last part of their key.
std::optional<GgufValue> FromSpec(const std::string& key, const ModelSpec& spec) {
  const std::pair<const char*, int64_t> integers[] = {{"embedding_length", spec.hidden},
                                                      {"feed_forward_length", spec.intermediate},
                                                      {"block_count", spec.layers},
                                                      {"attention.head_count", spec.heads},
                                                      {"attention.head_count_kv", spec.kv_heads},
                                                      {"attention.key_length", spec.head_dim},
                                                      {"attention.value_length", spec.head_dim},
                                                      {"context_length", spec.max_positions},
                                                      {"rope.dimension_count", spec.rotary.dimensions}};
  for (const auto& [name, value] : integers) {
    if (key == name) return GgufUint32(value);
  }
  if (key == "attention.layer_norm_rms_epsilon" || key == "attention.layer_norm_epsilon")
    return GgufFloat32(spec.norm_epsilon);
  if (key == "rope.freq_base") return GgufFloat32(spec.rotary.base);
  return std::nullopt;
}

void AddHyperparameters(const Architecture& architecture, const ModelSpec& spec, const Json& config,
                        GgufMetadata& metadata) {
  const std::string prefix = architecture.gguf_architecture + ".";
  const auto add = [&](const std::string& key, std::optional<GgufValue> value) {
    const bool known = std::ranges::any_of(metadata, [&](const auto& entry) { return entry.first == key; });
    if (value && !known) metadata.emplace_back(key, *std::move(value));
  };
  for (const auto& [config_key, gguf_key] : architecture.json.at("gguf").at("config").items()) {
    const auto key = gguf_key.get<std::string>();
    std::optional<GgufValue> value = FromSpec(key, spec);
    if (!value && config.contains(config_key)) value = FromJson(config.at(config_key));
    add(prefix + key, std::move(value));
  }
  add(prefix + "vocab_size", GgufUint32(spec.vocabulary));
  if (spec.positions != PositionKind::kRotary) return;
  for (const char* key : {"rope.dimension_count", "attention.key_length", "attention.value_length"})
    add(prefix + key, FromSpec(key, spec));
  const RotarySpec& rotary = spec.rotary;
  if (rotary.scaling != RotaryScaling::kLinear && rotary.scaling != RotaryScaling::kYarn) return;
  add(prefix + "rope.scaling.type", GgufString(rotary.scaling == RotaryScaling::kYarn ? "yarn" : "linear"));
  add(prefix + "rope.scaling.factor", GgufFloat32(rotary.factor));
  if (rotary.original_positions > 0) {
    add(prefix + "rope.scaling.original_context_length",
        GgufUint32(static_cast<int64_t>(rotary.original_positions)));
  }
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
  GgufMetadata metadata{{"general.architecture", GgufString(architecture.gguf_architecture)},
                        {"general.type", GgufString("model")},
                        {"general.name", GgufString(general.name)}};
  AddHyperparameters(architecture, spec, config, metadata);
  AddStorage(general.weights, metadata);
  AddVocabulary(vocabulary, metadata);
  return metadata;
}

GgufMetadata CopyGgufMetadata(const GgufFile& file, DType weights) {
  GgufMetadata metadata{{"general.architecture", GgufString(file.String("general.architecture"))}};
  AddStorage(weights, metadata);
  for (const auto& [key, value] : file.metadata()) {
    const bool storage = key == "general.architecture" || key == "general.file_type" ||
                         key == "general.quantization_version" || key == "general.alignment" ||
                         key.starts_with("split.") || key.starts_with("quantize.");
    if (!storage) metadata.emplace_back(key, value);
  }
  return metadata;
}

std::optional<Tensor> GgufRotaryFactors(const ModelSpec& spec) {
  if (spec.positions != PositionKind::kRotary || spec.rotary.scaling != RotaryScaling::kLlama3)
    return std::nullopt;
  RotarySpec plain = spec.rotary;
  plain.scaling = RotaryScaling::kNone;
  const std::vector<double> unscaled = RotaryFrequencies(plain), scaled = RotaryFrequencies(spec.rotary);
  Tensor factors(DType::kF32, {static_cast<int64_t>(scaled.size())});
  for (size_t i = 0; i < scaled.size(); ++i)
    factors.As<float>()[i] = static_cast<float>(unscaled[i] / scaled[i]);
  return factors;
}

}  // namespace gptq
