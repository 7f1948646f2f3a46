// GCC 12 takes parts of <regex> for uninitialized when it builds with sanitizers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include "quant/gptq_config.h"

#include <algorithm>
#include <array>
#include <map>
#include <regex>
#include <span>

#include "base/error.h"

namespace gptq {
namespace {

constexpr size_t kLongestPattern = 1000;

[[noreturn]] void Bad(std::string_view where, std::string_view key, const Json& value,
                      std::string_view what_to_do) {
  throw Error(Concat("\"", key, "\" is ", Dump(value)), where, what_to_do);
}

// The value of the key, or of `otherwise` where it is absent or null.
int64_t Integer(const Json& json, std::string_view key, int64_t otherwise, std::string_view where) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return otherwise;
  constexpr int64_t kLimit = int64_t{1} << 31;
  const bool small = found->is_number_integer() && *found > -kLimit && *found < kLimit;
  if (!small) Bad(where, key, *found, "it must be a whole number");
  return found->get<int64_t>();
}

bool Boolean(const Json& json, std::string_view key, bool otherwise, std::string_view where) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return otherwise;
  if (!found->is_boolean()) Bad(where, key, *found, "it must be true or false");
  return found->get<bool>();
}

std::string Text(const Json& json, std::string_view key, std::string_view otherwise, std::string_view where) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::string(otherwise);
  if (!found->is_string()) Bad(where, key, *found, "it must be a string");
  return found->get<std::string>();
}

GptqSettings ParseSettings(const Json& json, const GptqSettings& defaults, std::string_view where) {
  GptqSettings settings = defaults;
  const int64_t bits = Integer(json, "bits", defaults.bits, where);
  if (bits < 2 || bits > 8) Bad(where, "bits", bits, "it must be 2 to 8");
  settings.bits = static_cast<int>(bits);
  settings.group_size = Integer(json, "group_size", defaults.group_size, where);
  if (settings.group_size != -1 && settings.group_size < 1) {
    Bad(where, "group_size", settings.group_size, "it must be -1 or at least 1");
  }
  settings.symmetric = Boolean(json, "sym", defaults.symmetric, where);
  return settings;
}

GptqVersion ParseVersion(const Json& json, std::string_view where) {
  const std::string format = Text(json, "checkpoint_format", Text(json, "format", "gptq", where), where);
  if (format == "gptq") return GptqVersion::kV1;
  if (format == "gptq_v2") return GptqVersion::kV2;
  Bad(where, "checkpoint_format", format, "only gptq and gptq_v2 can be read");
}

std::vector<GptqOverride> ParseOverrides(const Json& json, const GptqSettings& defaults,
                                         std::string_view where) {
  std::vector<GptqOverride> overrides;
  const auto found = json.find("dynamic");
  if (found == json.end() || found->is_null() || found->is_boolean()) return overrides;
  if (!found->is_object()) Bad(where, "dynamic", *found, "it must be an object of patterns");
  for (const auto& [key, value] : found->items()) {
    const bool skip = key.starts_with("-:");
    GptqOverride entry{skip || key.starts_with("+:") ? key.substr(2) : key, std::nullopt};
    if (!skip) {
      if (!value.is_object()) Bad(where, key, value, "it must be an object of settings");
      entry.settings = ParseSettings(value, defaults, where);
    }
    try {
      if (entry.pattern.size() > kLongestPattern)
        throw std::regex_error(std::regex_constants::error_complexity);
      static_cast<void>(std::regex(entry.pattern));
    } catch (const std::regex_error&) {
      throw Error(Concat("\"dynamic\" has the pattern ", Dump(entry.pattern)), where,
                  "it must be a regular expression (ECMAScript) of at most 1000 characters");
    }
    overrides.push_back(std::move(entry));
  }
  // Exclusions first: the order of the file's keys is lost.
  std::stable_partition(overrides.begin(), overrides.end(),
                        [](const GptqOverride& o) { return !o.settings; });
  return overrides;
}

bool Matches(const GptqOverride& entry, std::string_view module) {
  return std::regex_search(module.begin(), module.end(), std::regex(entry.pattern),
                           std::regex_constants::match_continuous);
}

// A pattern for exactly this name.
std::string ExactPattern(std::string_view name) {
  std::string pattern = "^";
  for (const char c : name) {
    if (std::string_view(".^$|()[]{}*+?\\").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern + "$";
}

struct MergedProjection {
  std::string_view name;
  std::array<std::string_view, 3> parts;
  size_t count;
};
constexpr std::array<MergedProjection, 2> kMergedProjections{
    {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}, 3}, {"gate_up_proj", {"gate_proj", "up_proj", ""}, 2}}};

}  // namespace

Json ToJson(const GptqConfig& config) {
  Json json = {{"quant_method", "gptq"},
               {"bits", config.settings.bits},
               {"group_size", config.settings.group_size},
               {"desc_act", config.activation_order},
               {"sym", config.settings.symmetric},
               {"lm_head", config.lm_head},
               {"checkpoint_format", config.settings.version == GptqVersion::kV1 ? "gptq" : "gptq_v2"},
               {"pack_dtype", "int32"},
               {"static_groups", config.static_groups},
               {"true_sequential", config.true_sequential}};
  Json meta = {{"quantizer", Json::array({config.quantizer})},
               {"static_groups", config.static_groups},
               {"true_sequential", config.true_sequential},
               {"act_group_aware", config.group_aware_order}};
  // transformers refuses values outside (0, 1).
  if (config.damping && *config.damping > 0 && *config.damping < 1) {
    json["damp_percent"] = *config.damping;
    meta["damp_percent"] = *config.damping;
  }
  json["meta"] = std::move(meta);
  if (config.overrides.empty()) return json;
  Json dynamic = Json::object();
  for (const GptqOverride& entry : config.overrides) {
    if (entry.settings) {
      dynamic["+:" + entry.pattern] = {{"bits", entry.settings->bits},
                                       {"group_size", entry.settings->group_size},
                                       {"sym", entry.settings->symmetric}};
    } else {
      dynamic["-:" + entry.pattern] = Json::object();
    }
  }
  json["dynamic"] = std::move(dynamic);
  return json;
}

GptqConfig ParseGptqConfig(const Json& json, std::string_view where) {
  if (!json.is_object()) throw Error("the quantization config is not an object", where, "repair the file");
  const std::string method = Text(json, "quant_method", Text(json, "method", "gptq", where), where);
  if (method != "gptq") Bad(where, "quant_method", method, "this is not a GPTQ checkpoint");
  if (Boolean(json, "is_marlin_format", false, where)) {
    Bad(where, "is_marlin_format", true, "only the formats gptq and gptq_v2 can be read");
  }
  const std::string packing = Text(json, "pack_dtype", "int32", where);
  if (packing != "int32") Bad(where, "pack_dtype", packing, "only int32 can be read");
  if (!json.contains("bits")) throw Error("\"bits\" is missing", where, "add the bits of the codes");

  GptqConfig config;
  config.settings = ParseSettings(json, GptqSettings(), where);
  config.settings.version = ParseVersion(json, where);
  config.activation_order = Boolean(json, "desc_act", false, where);
  config.lm_head = Boolean(json, "lm_head", false, where);
  config.overrides = ParseOverrides(json, config.settings, where);
  const auto meta = json.find("meta");
  const Json& information = meta != json.end() && meta->is_object() ? *meta : json;
  if (const auto quantizer = information.find("quantizer"); quantizer != information.end()) {
    const Json& first = quantizer->is_array() && !quantizer->empty() ? quantizer->front() : *quantizer;
    if (first.is_string()) config.quantizer = first.get<std::string>();
  }
  if (const auto damping = information.find("damp_percent");
      damping != information.end() && damping->is_number()) {
    config.damping = damping->get<double>();
  }
  config.static_groups = Boolean(information, "static_groups", false, where);
  config.true_sequential = Boolean(information, "true_sequential", true, where);
  config.group_aware_order = Boolean(information, "act_group_aware", false, where);
  return config;
}

std::optional<GptqSettings> SettingsOf(const GptqConfig& config, std::string_view module) {
  CHECK(module.size() < 10000);
  for (const GptqOverride& entry : config.overrides) {
    if (Matches(entry, module)) return entry.settings;
  }
  return config.settings;
}

std::vector<std::string> AddOverrides(
    const std::vector<std::pair<std::string, std::optional<GptqSettings>>>& modules, GptqConfig& config) {
  std::vector<std::string> warnings;
  std::map<std::string, std::optional<GptqSettings>> changed;
  for (const auto& [name, settings] : modules) {
    if (settings && *settings == config.settings) continue;
    changed[name] = settings;
    config.overrides.push_back({ExactPattern(name), settings});
  }
  for (const auto& [name, settings] : changed) {
    const size_t dot = name.rfind('.');
    const std::string parent = dot == std::string::npos ? "" : name.substr(0, dot + 1);
    for (const MergedProjection& merged : kMergedProjections) {
      const std::span parts(merged.parts.data(), merged.count);
      const auto part = std::find(parts.begin(), parts.end(), name.substr(parent.size()));
      if (part == parts.end()) continue;
      const bool agree = std::all_of(parts.begin(), parts.end(), [&](std::string_view other) {
        const auto found = changed.find(parent + std::string(other));
        return found != changed.end() && found->second == settings;
      });
      if (agree && part == parts.begin()) {
        config.overrides.push_back({ExactPattern(parent + std::string(merged.name)), settings});
      } else if (!agree) {
        warnings.push_back(Concat(name, ": vLLM and SGLang merge it with its neighbours into ", merged.name,
                                  " and need equal bits and group sizes there"));
      }
    }
  }
  return warnings;
}

std::vector<std::string> SettingWarnings(const GptqConfig& config) {
  std::vector<std::string> warnings;
  const GptqSettings& settings = config.settings;
  if (!settings.symmetric)
    warnings.push_back("vLLM and SGLang's Marlin kernels read symmetric GPTQ checkpoints only");
  if (settings.bits != 4 && settings.bits != 8) {
    warnings.push_back(Concat("vLLM reads 4 and 8 bits, not ", settings.bits));
  }
  constexpr std::array<int64_t, 4> kGroupSizes{-1, 32, 64, 128};
  if (std::find(kGroupSizes.begin(), kGroupSizes.end(), settings.group_size) == kGroupSizes.end()) {
    warnings.push_back(
        Concat("vLLM reads group sizes of 32, 64, 128 and whole rows, not ", settings.group_size));
  }
  if (settings.version == GptqVersion::kV2)
    warnings.push_back("SGLang's GPTQ kernels expect gptq, not gptq_v2");
  if (settings.version == GptqVersion::kV1 && !settings.symmetric)
    warnings.push_back("GPTQModel reads asymmetric checkpoints of other programs as gptq_v2 only");
  return warnings;
}

}  // namespace gptq
