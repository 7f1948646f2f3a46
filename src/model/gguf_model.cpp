#include "model/gguf_model.h"

#include <algorithm>
#include <cmath>

#include "base/convert.h"
#include "base/error.h"

namespace gptq {
namespace {

Json ToJson(const GgufValue& value) {
  return std::visit([](const auto& v) -> Json { return v; }, value.value);
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
  if (kind == "none") return;
  if (kind != "linear" && kind != "yarn") {
    throw Error(Concat("rotary scaling '", kind, "' is not known"), file.path().string(),
                "known are none, linear, yarn");
  }
  Json scaling{{"rope_type", kind}};
  if (const auto factor = file.FindFloat(prefix + "rope.scaling.factor")) scaling["factor"] = *factor;
  if (const auto original = file.FindInteger(prefix + "rope.scaling.original_context_length")) {
    scaling["original_max_position_embeddings"] = *original;
  }
  (*config)["rope_scaling"] = scaling;
}

// Llama 3.1's scaling stands in GGUF as a tensor of divisors. Finds the published parameters that give it.
void ReadRopeFactors(const GgufFile& file, int64_t head_dim, Json* config) {
  const std::optional<TensorView> stored = file.Find("rope_freqs.weight");
  if (!stored) return;
  const Tensor factors = ToFloat(*stored);
  RotarySpec plain;
  plain.dimensions = head_dim;
  if (config->contains("rope_theta")) {
    if (!config->at("rope_theta").is_number())
      throw Error("rope.freq_base is not a number", file.path().string(), "fetch the model again");
    plain.base = config->at("rope_theta").get<double>();
  }
  if (head_dim % 2 != 0 || factors.elements() != head_dim / 2) {
    throw Error(Concat(factors.elements(), " rotary factors for heads of width ", head_dim),
                file.path().string() + ": rope_freqs.weight", "fetch the model again");
  }
  for (const double factor : {8.0, 32.0, 16.0, 4.0, 2.0}) {
    RotarySpec scaled = plain;
    scaled.scaling = RotaryScaling::kLlama3;
    scaled.factor = factor;
    scaled.original_positions = 8192;
    const std::vector<double> a = RotaryFrequencies(plain), b = RotaryFrequencies(scaled);
    bool equal = true;
    for (size_t i = 0; equal && i < a.size(); ++i) {
      equal = std::abs(a[i] / b[i] / static_cast<double>(factors.As<float>()[i]) - 1) < 1e-3;
    }
    if (!equal) continue;
    (*config)["rope_scaling"] = {{"rope_type", "llama3"},
                                 {"factor", factor},
                                 {"low_freq_factor", 1.0},
                                 {"high_freq_factor", 4.0},
                                 {"original_max_position_embeddings", 8192}};
    return;
  }
  throw Error("rotary factors that no published scaling gives", file.path().string() + ": rope_freqs.weight",
              "convert the model from its Hugging Face folder instead");
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

Json ConfigFromGguf(const GgufFile& file, const Architecture& architecture) {
  const std::string where = file.path().string();
  if (architecture.gguf_architecture.empty()) {
    throw Error(Concat("architecture '", architecture.name, "' has no \"gguf\" section"), where,
                "add one to the architecture file");
  }
  const Json& table = architecture.json.at("gguf");
  const std::string prefix = architecture.gguf_architecture + ".";
  Json config = table.value("constants", Json::object());
  for (const auto& [key, gguf_key] : table.at("config").items()) {
    const GgufValue* value = file.FindValue(prefix + gguf_key.get<std::string>());
    if (value != nullptr) config[key] = Scalar(ToJson(*value), prefix + gguf_key.get<std::string>(), where);
  }
  if (table.contains("present")) {
    for (const auto& [key, tensor] : table.at("present").items())
      config[key] = file.Find(tensor.get<std::string>()).has_value();
  }
  config["vocab_size"] = VocabularySize(file);
  config["tie_word_embeddings"] = !file.Find("output.weight").has_value();
  for (const char* name : {"bos", "eos"}) {
    if (const auto id = TokenId(file, std::string(name) + "_token_id"))
      config[std::string(name) + "_token_id"] = *id;
  }
  if (const auto id = TokenId(file, "padding_token_id")) config["pad_token_id"] = *id;
  ReadRopeScaling(file, prefix, &config);
  const int64_t heads = Whole(config, "num_attention_heads");
  if (heads > 0) {
    const int64_t head_dim =
        config.contains("head_dim") ? Whole(config, "head_dim") : Whole(config, "hidden_size") / heads;
    ReadRopeFactors(file, head_dim, &config);
  }
  config["torch_dtype"] = "float16";
  return config;
}

std::map<std::string, std::string> GgufNames(const Architecture& architecture, const ModelSpec& spec) {
  std::map<std::string, std::string> names;
  for (const auto& [role, gguf_name] : architecture.json.at("gguf").at("tensors").items()) {
    if (!spec.Has(role)) continue;
    const auto name = gguf_name.get<std::string>();
    const size_t place = name.find("{block}");
    const bool in_block = place != std::string::npos;
    for (int64_t block = 0; block < (in_block ? spec.layers : 1); ++block) {
      std::string stored = name;
      if (in_block) stored.replace(place, 7, std::to_string(block));
      names[spec.Name(role, block)] = stored;
    }
  }
  return names;
}

std::vector<int32_t> GgufRowOrder(const Architecture& architecture, const ModelSpec& spec,
                                  const std::string& module, int64_t rows) {
  const Json roles = architecture.json.at("gguf").value("interleaved_rows", Json::array());
  const bool interleaved = std::ranges::any_of(roles, [&](const Json& role) {
    for (int64_t block = 0; block < spec.layers; ++block) {
      if (spec.Name(role.get<std::string>(), block) == module) return true;
    }
    return false;
  });
  if (!interleaved) return {};
  const int64_t half = spec.head_dim / 2;
  std::vector<int32_t> order(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t in_head = row % spec.head_dim;
    order[static_cast<size_t>(row)] =
        static_cast<int32_t>(row - in_head + in_head % half * 2 + in_head / half);
  }
  return order;
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
  vocabulary.chat_template = file.FindString("tokenizer.chat_template");
  return vocabulary;
}

}  // namespace gptq
