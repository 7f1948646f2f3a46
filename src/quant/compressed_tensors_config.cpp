#include "quant/compressed_tensors_config.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "quant/config_json.h"

namespace gptq {
namespace {

using config_json::Bad;

constexpr std::string_view kFormat = "pack-quantized";

Json WeightsJson(const LinearSettings& settings, bool activation_order) {
  const bool whole_rows = settings.group_size < 0;
  return {{"num_bits", settings.bits},
          {"type", "int"},
          {"symmetric", settings.symmetric},
          {"strategy", whole_rows ? "channel" : "group"},
          {"group_size", whole_rows ? Json() : Json(settings.group_size)},
          {"actorder", activation_order ? Json("group") : Json()},
          {"block_structure", nullptr},
          {"dynamic", false},
          {"observer", "minmax"}};
}

Json GroupJson(Json targets, const LinearSettings& settings, bool activation_order) {
  return {{"format", kFormat},
          {"targets", std::move(targets)},
          {"weights", WeightsJson(settings, activation_order)},
          {"input_activations", nullptr},
          {"output_activations", nullptr}};
}

std::string Target(const std::string& pattern) { return ExactName(pattern).value_or("re:" + pattern); }

// A regular expression for a target or an ignored name.
std::string Pattern(const Json& target, std::string_view key, std::string_view where) {
  if (!target.is_string()) Bad(where, key, target, "it must be a list of names");
  const auto text = target.get<std::string>();
  const std::string pattern = text.starts_with("re:") ? text.substr(3) : ExactPattern(text);
  config_json::CheckPattern(key, pattern, where);
  return pattern;
}

LinearSettings ParseWeights(const Json& json, std::string_view where) {
  if (!json.is_object()) Bad(where, "weights", json, "it must be an object");
  LinearSettings settings{4, -1, true, WeightFormat::kCompressedTensors};
  const int64_t bits = config_json::Integer(json, "num_bits", 8, where);
  if (bits < 2 || bits > 8) Bad(where, "num_bits", bits, "it must be 2 to 8");
  settings.bits = static_cast<int>(bits);
  const std::string type = config_json::Text(json, "type", "int", where);
  if (type != "int") Bad(where, "type", type, "only int can be read");
  settings.symmetric = config_json::Boolean(json, "symmetric", true, where);
  const std::string strategy = config_json::Text(json, "strategy", "group", where);
  if (strategy == "channel") return settings;
  if (strategy != "group") Bad(where, "strategy", strategy, "only group and channel can be read");
  settings.group_size = config_json::Integer(json, "group_size", -1, where);
  if (settings.group_size != -1 && settings.group_size < 1)
    Bad(where, "group_size", settings.group_size, "it must be -1 or at least 1");
  return settings;
}

void CheckFormat(const Json& json, std::string_view where) {
  const std::string format = config_json::Text(json, "format", kFormat, where);
  if (format != kFormat) Bad(where, "format", format, "only pack-quantized can be read");
}

LinearSettings ParseGroup(const Json& group, std::string_view where) {
  if (!group.is_object() || !group.contains("weights") || !group.contains("targets") ||
      !group.at("targets").is_array())
    Bad(where, "config_groups", group, "each group must have weights and a list of targets");
  CheckFormat(group, where);
  if (group.contains("input_activations") && !group.at("input_activations").is_null())
    Bad(where, "input_activations", group.at("input_activations"), "only quantized weights can be read");
  return ParseWeights(group.at("weights"), where);
}

}  // namespace

Json ToCompressedTensorsJson(const QuantizationConfig& config) {
  Json ignored = Json::array();
  if (!config.lm_head) ignored.push_back("lm_head");
  std::vector<std::pair<LinearSettings, Json>> groups{{config.settings, Json::array({"Linear"})}};
  for (const LinearOverride& entry : config.overrides) {
    if (!entry.settings) {
      const std::string target = Target(entry.pattern);
      if (std::find(ignored.begin(), ignored.end(), target) == ignored.end()) ignored.push_back(target);
      continue;
    }
    auto same = std::ranges::find(groups, *entry.settings, [](const auto& group) { return group.first; });
    if (same == groups.end()) same = groups.insert(groups.end(), {*entry.settings, Json::array()});
    same->second.push_back(Target(entry.pattern));
  }
  Json groups_json = Json::object();
  for (size_t i = 0; i < groups.size(); ++i) {
    groups_json["group_" + std::to_string(i)] =
        GroupJson(groups[i].second, groups[i].first, config.activation_order);
  }
  return {{"quant_method", "compressed-tensors"}, {"format", kFormat},
          {"quantization_status", "compressed"},  {"config_groups", std::move(groups_json)},
          {"ignore", std::move(ignored)},         {"kv_cache_scheme", nullptr},
          {"global_compression_ratio", nullptr},  {"sparsity_config", Json::object()},
          {"transform_config", Json::object()}};
}

QuantizationConfig ParseCompressedTensorsConfig(const Json& json, std::string_view where) {
  CheckFormat(json, where);
  if (const auto status = config_json::Text(json, "quantization_status", "compressed", where);
      status != "compressed")
    Bad(where, "quantization_status", status, "only compressed checkpoints can be read");
  if (!json.contains("config_groups") || !json.at("config_groups").is_object() ||
      json.at("config_groups").empty())
    throw Error("\"config_groups\" is missing", where, "add the settings of the quantized linears");
  QuantizationConfig config;
  config.lm_head = true;  // unless it is ignored
  if (const auto ignored = json.find("ignore"); ignored != json.end() && !ignored->is_null()) {
    if (!ignored->is_array()) Bad(where, "ignore", *ignored, "it must be a list of names");
    for (const Json& name : *ignored) {
      if (name == "lm_head") config.lm_head = false;
      config.overrides.push_back({Pattern(name, "ignore", where), std::nullopt});
    }
  }
  bool for_all = false;
  for (const auto& [key, group] : json.at("config_groups").items()) {
    const LinearSettings settings = ParseGroup(group, where);
    for (const Json& target : group.at("targets")) {
      if (target == "Linear") {
        config.settings = settings;
        for_all = true;
      } else {
        config.overrides.push_back({Pattern(target, "targets", where), settings});
      }
    }
  }
  config.settings.format = WeightFormat::kCompressedTensors;
  if (!for_all) config.overrides.push_back({"", std::nullopt});  // all others
  return config;
}

}  // namespace gptq
