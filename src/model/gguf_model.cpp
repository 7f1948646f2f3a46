#include "model/gguf_model.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>
#include <span>

#include "base/convert.h"
#include "base/error.h"
#include "model/config_rule.h"
#include "model/rotary.h"

namespace gptq {
namespace {

constexpr size_t kLongestList = 100000;

// A float32 as its shortest decimal: 1e-5, not 9.9999997e-6.
double Shortest(double value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof(text), static_cast<float>(value)).ptr;
  double shortest = value;
  std::from_chars(text, end, shortest);
  return shortest;
}

Json ToJson(const GgufValue& value) {
  if (value.type == GgufType::kFloat32) return Shortest(std::get<double>(value.value));
  if (value.type == GgufType::kBool) return std::get<int64_t>(value.value) != 0;
  if (value.type == GgufType::kArray && value.element_type == GgufType::kBool) {
    Json list = Json::array();
    for (const int64_t entry : std::get<std::vector<int64_t>>(value.value)) list.push_back(entry != 0);
    return list;
  }
  return std::visit([](const auto& v) -> Json { return v; }, value.value);
}

// json["a"]["b"] for "a.b". What is no object on the way there becomes one.
Json& PlaceIn(Json& json, std::string_view path) {
  Json* place = &json;
  for (size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    place = &(*place)[std::string(path.substr(0, dot))];
    if (!place->is_object()) *place = Json::object();
    path.remove_prefix(dot + 1);
  }
  return (*place)[std::string(path)];
}

size_t Length(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> size_t {
        if constexpr (requires { v.size(); }) return v.size();
        return 1;
      },
      value.value);
}

// Metadata may give one number for all blocks or a list with one for each; only equal ones are a plain
// config.
Json Scalar(const Json& value, const std::string& key, const std::string& where) {
  if (!value.is_array()) return value;
  if (value.empty() || std::ranges::any_of(value, [&](const Json& v) { return v != value.front(); })) {
    throw Error(Concat("'", key, "' differs from block to block"), where, "such models are not supported");
  }
  return value.front();
}

// 0 where the key is absent or holds no whole number; BuildSpec will complain about it.
int64_t Whole(const Json& config, const char* key) {
  return config.contains(key) && config.at(key).is_number_integer() ? config.at(key).get<int64_t>() : 0;
}

void ReadRopeScaling(const GgufFile& file, const std::string& prefix, Json* config) {
  const std::string kind = file.FindString(prefix + "rope.scaling.type").value_or("none");
  if (kind == "none" || kind == "longrope") return;  // longrope lies in tensors
  if (kind != "linear" && kind != "yarn") {
    throw Error(Concat("rotary scaling '", kind, "' is not known"), file.path().string(),
                "known are none, linear, yarn, longrope");
  }
  Json scaling{{"rope_type", kind}};
  const auto read = [&](const char* key, const char* gguf_key, double times = 1) {
    if (const auto value = file.FindFloat(prefix + "rope.scaling." + gguf_key))
      scaling[key] = Shortest(*value * times);
  };
  read("factor", "factor");
  if (const auto original = file.FindInteger(prefix + "rope.scaling.original_context_length"))
    scaling["original_max_position_embeddings"] = *original;
  if (kind == "yarn") {
    read("beta_fast", "yarn_beta_fast");
    read("beta_slow", "yarn_beta_slow");
    read("mscale", "yarn_log_multiplier", 10);
    read("mscale_all_dim", "yarn_log_multiplier", 10);
    if (const double factor = scaling.value("factor", 1.0); factor > 0)
      read("attention_factor", "attn_factor", 0.1 * std::log(factor) + 1);
    read("attention_factor", "yarn_attention_factor");
  }
  (*config)["rope_scaling"] = scaling;
}

// The positions of the unscaled model, from a divisor between 1 and the factor (Llama 3's rule, solved for
// it); absent where no divisor is.
std::optional<double> OriginalPositions(const RotarySpec& plain, std::span<const float> divisors,
                                        double factor) {
  const std::vector<double> frequencies = RotaryFrequencies(plain);
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double divisor = static_cast<double>(divisors[i]);
    if (!(divisor > 1.001 && divisor < factor * 0.999)) continue;
    const double smooth = (1 / divisor - 1 / factor) / (1 - 1 / factor);
    return std::round((smooth * 3 + 1) * 2 * std::numbers::pi / frequencies[i]);
  }
  return std::nullopt;
}

// Llama 3.1's scaling stands in GGUF as a tensor of divisors. Finds the published parameters that give it.
void ReadRopeFactors(const GgufFile& file, int64_t dimensions, Json* config) {
  const std::optional<TensorView> stored = file.Find("rope_freqs.weight");
  if (!stored) return;
  const std::string where = file.path().string() + ": rope_freqs.weight";
  const Tensor factors = ToFloat(*stored);
  RotarySpec plain;
  plain.dimensions = dimensions;
  if (config->contains("rope_theta")) {
    if (!config->at("rope_theta").is_number())
      throw Error("rope.freq_base is not a number", file.path().string(), "fetch the model again");
    plain.base = config->at("rope_theta").get<double>();
  }
  if (dimensions % 2 != 0 || factors.elements() != dimensions / 2) {
    throw Error(Concat(factors.elements(), " rotary factors for ", dimensions, " rotary dimensions"), where,
                "fetch the model again");
  }
  const std::span<const float> divisors = factors.As<float>();
  const double factor = Shortest(divisors.empty() ? 1 : std::ranges::max(divisors));
  if (factor == 1) return;
  RotarySpec scaled = plain;
  scaled.scaling = RotaryScaling::kLlama3;
  scaled.factor = factor;
  std::vector<double> candidates = {8192};
  if (const auto solved = OriginalPositions(plain, divisors, factor)) candidates = {*solved};
  for (double power = 16; power <= 1 << 24; power *= 2) candidates.push_back(power);
  for (const double original : candidates) {
    scaled.original_positions = original;
    const std::vector<double> a = RotaryFrequencies(plain), b = RotaryFrequencies(scaled);
    bool equal = true;
    for (size_t i = 0; equal && i < a.size(); ++i)
      equal = std::abs(a[i] / b[i] / static_cast<double>(divisors[i]) - 1) < 1e-5;
    if (!equal) continue;
    (*config)["rope_scaling"] = {{"rope_type", "llama3"},
                                 {"factor", factor},
                                 {"low_freq_factor", 1.0},
                                 {"high_freq_factor", 4.0},
                                 {"original_max_position_embeddings", static_cast<int64_t>(original)}};
    return;
  }
  throw Error("rotary factors that no published scaling gives", where,
              "convert the model from its Hugging Face folder instead");
}

// LongRoPE's two lists of divisors.
void ReadLongRope(const GgufFile& file, const std::string& prefix, Json* config) {
  const std::optional<TensorView> one = file.Find("rope_factors_short.weight"),
                                  other = file.Find("rope_factors_long.weight");
  if (!one || !other) return;
  Json scaling{{"type", "longrope"}, {"rope_type", "longrope"}};
  for (const auto& [key, view] : {std::pair("short_factor", *one), std::pair("long_factor", *other)}) {
    const Tensor factors = ToFloat(view);
    Json list = Json::array();
    for (const float factor : factors.As<float>()) list.push_back(Shortest(static_cast<double>(factor)));
    scaling[key] = std::move(list);
  }
  (*config)["rope_scaling"] = std::move(scaling);
  if (const auto original = file.FindInteger(prefix + "rope.scaling.original_context_length"))
    (*config)["original_max_position_embeddings"] = *original;
}

int64_t VocabularySize(const GgufFile& file) {
  if (const auto embedding = file.Find("token_embd.weight")) return embedding->rows();
  return static_cast<int64_t>(file.Strings("tokenizer.ggml.tokens").size());
}

std::optional<int64_t> TokenId(const GgufFile& file, const std::string& name) {
  const std::optional<int64_t> id = file.FindInteger("tokenizer.ggml." + name);
  return id && *id >= 0 && *id < 0xffffffff ? id : std::nullopt;
}

}  // namespace

Json GgufMetadataJson(const GgufFile& file) {
  const std::string prefix = file.String("general.architecture") + ".";
  Json json = Json::object();
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with(prefix) || Length(value) > kLongestList) continue;
    PlaceIn(json, std::string_view(key).substr(prefix.size())) = ToJson(value);
  }
  return json;
}

Json ConfigFromGguf(const GgufFile& file, const Architecture& architecture) {
  const std::string where = file.path().string();
  if (architecture.gguf_architecture.empty()) {
    throw Error(Concat("architecture '", architecture.name, "' has no \"gguf\" section"), where,
                "add one to the architecture file");
  }
  const Json& section = architecture.json.at("gguf");
  const Json metadata = GgufMetadataJson(file);
  const std::string prefix = architecture.gguf_architecture + ".";
  Json config = Json::object();
  const Json constants = section.value("constants", Json::object());
  for (const auto& [key, value] : constants.items()) {
    if (!value.is_null()) config[key] = value;
  }
  for (const auto& [key, rule] : section.at("config").items()) {
    const bool plain = rule.is_string();
    Json value = plain ? FindInConfig(metadata, rule.get<std::string>())
                       : EvaluateRule(rule, metadata, {architecture.name, key, where});
    if (plain) value = value.is_null() ? value : Scalar(value, prefix + rule.get<std::string>(), where);
    if (!value.is_null()) PlaceIn(config, key) = std::move(value);
  }
  const Json present = section.value("present", Json::object());
  for (const auto& [key, tensor] : present.items()) {
    if (!tensor.is_null()) config[key] = file.Find(tensor.get<std::string>()).has_value();
  }
  config["vocab_size"] = VocabularySize(file);
  config["tie_word_embeddings"] = !file.Find("output.weight").has_value();
  for (const char* name : {"bos", "eos"}) {
    if (const auto id = TokenId(file, std::string(name) + "_token_id"))
      config[std::string(name) + "_token_id"] = *id;
  }
  if (const auto id = TokenId(file, "padding_token_id")) config["pad_token_id"] = *id;
  ReadRopeScaling(file, prefix, &config);
  ReadLongRope(file, prefix, &config);
  const int64_t heads = Whole(config, "num_attention_heads");
  if (heads > 0) {
    const int64_t head_dim =
        config.contains("head_dim") ? Whole(config, "head_dim") : Whole(config, "hidden_size") / heads;
    ReadRopeFactors(file, file.FindInteger(prefix + "rope.dimension_count").value_or(head_dim), &config);
  }
  config["torch_dtype"] = "float16";
  return config;
}

GgufVocabulary ReadGgufVocabulary(const GgufFile& file) {
  const std::string prefix = "tokenizer.ggml.";
  GgufVocabulary vocabulary;
  vocabulary.model = file.String(prefix + "model");
  vocabulary.pre = file.FindString(prefix + "pre").value_or("");
  vocabulary.architecture = file.FindString("general.architecture").value_or("");
  vocabulary.tokens = file.Strings(prefix + "tokens");
  if (const auto scores = file.FindFloats(prefix + "scores")) vocabulary.scores = *scores;
  if (const auto types = file.FindIntegers(prefix + "token_type"))
    vocabulary.token_types.assign(types->begin(), types->end());
  if (const auto* merges = file.FindStrings(prefix + "merges")) vocabulary.merges = *merges;
  vocabulary.bos = TokenId(file, "bos_token_id");
  vocabulary.eos = TokenId(file, "eos_token_id");
  vocabulary.eot = TokenId(file, "eot_token_id");
  vocabulary.pad = TokenId(file, "padding_token_id");
  vocabulary.unknown = TokenId(file, "unknown_token_id");
  vocabulary.separator = TokenId(file, "seperator_token_id");  // spelled so in GGUF
  vocabulary.add_bos = file.FindBool(prefix + "add_bos_token");
  vocabulary.add_eos = file.FindBool(prefix + "add_eos_token");
  vocabulary.add_space_prefix = file.FindBool(prefix + "add_space_prefix");
  vocabulary.remove_extra_spaces = file.FindBool(prefix + "remove_extra_whitespaces");
  vocabulary.character_map = file.FindBytes(prefix + "precompiled_charsmap").value_or("");
  vocabulary.chat_template = file.FindString("tokenizer.chat_template");
  return vocabulary;
}

}  // namespace gptq
