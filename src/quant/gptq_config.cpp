#include "quant/gptq_config.h"

#include <algorithm>

#include "base/error.h"
#include "quant/config_json.h"

namespace gptq {
namespace {

using config_json::Bad;
using config_json::Boolean;
using config_json::Integer;
using config_json::Text;

LinearSettings ParseSettings(const Json& json, const LinearSettings& defaults, std::string_view where) {
  LinearSettings settings = defaults;
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

WeightFormat ParseVersion(const Json& json, std::string_view where) {
  const std::string format = Text(json, "checkpoint_format", Text(json, "format", "gptq", where), where);
  if (format == "gptq") return WeightFormat::kGptq;
  if (format == "gptq_v2") return WeightFormat::kGptqV2;
  Bad(where, "checkpoint_format", format, "only gptq and gptq_v2 can be read");
}

std::vector<LinearOverride> ParseOverrides(const Json& json, const LinearSettings& defaults,
                                           std::string_view where) {
  std::vector<LinearOverride> overrides;
  const auto found = json.find("dynamic");
  if (found == json.end() || found->is_null() || found->is_boolean()) return overrides;
  if (!found->is_object()) Bad(where, "dynamic", *found, "it must be an object of patterns");
  for (const auto& [key, value] : found->items()) {
    const bool skip = key.starts_with("-:");
    LinearOverride entry{skip || key.starts_with("+:") ? key.substr(2) : key, std::nullopt};
    if (!skip) {
      if (!value.is_object()) Bad(where, key, value, "it must be an object of settings");
      entry.settings = ParseSettings(value, defaults, where);
    }
    config_json::CheckPattern("dynamic", entry.pattern, where);
    overrides.push_back(std::move(entry));
  }
  // Exclusions first: the order of the file's keys is lost.
  std::stable_partition(overrides.begin(), overrides.end(),
                        [](const LinearOverride& o) { return !o.settings; });
  return overrides;
}

}  // namespace

Json ToGptqJson(const QuantizationConfig& config) {
  Json json = {{"quant_method", "gptq"},
               {"bits", config.settings.bits},
               {"group_size", config.settings.group_size},
               {"desc_act", config.activation_order},
               {"sym", config.settings.symmetric},
               {"lm_head", config.lm_head},
               {"checkpoint_format", config.settings.format == WeightFormat::kGptq ? "gptq" : "gptq_v2"},
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
  for (const LinearOverride& entry : config.overrides) {
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

QuantizationConfig ParseGptqConfig(const Json& json, std::string_view where) {
  if (Boolean(json, "is_marlin_format", false, where)) {
    Bad(where, "is_marlin_format", true, "only the formats gptq and gptq_v2 can be read");
  }
  const std::string packing = Text(json, "pack_dtype", "int32", where);
  if (packing != "int32") Bad(where, "pack_dtype", packing, "only int32 can be read");
  if (!json.contains("bits")) throw Error("\"bits\" is missing", where, "add the bits of the codes");

  QuantizationConfig config;
  config.settings = ParseSettings(json, LinearSettings(), where);
  config.settings.format = ParseVersion(json, where);
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

}  // namespace gptq
