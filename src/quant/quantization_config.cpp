#include "quant/quantization_config.h"

#include <algorithm>
#include <array>
#include <map>
#include <span>

#include "base/error.h"
#include "base/name_pattern.h"
#include "quant/compressed_tensors_config.h"
#include "quant/config_json.h"
#include "quant/gptq_config.h"

namespace gptq {
namespace {

constexpr std::string_view kSpecial = ".^$|()[]{}*+?\\";

bool Matches(const LinearOverride& entry, std::string_view module) {
  const auto pattern = NamePattern::Parse(entry.pattern);
  if (!pattern) throw Error("the name of a linear is too long", entry.pattern, "give it a shorter name");
  return pattern->MatchesBeginning(module);
}

struct MergedProjection {
  std::string_view name;
  std::array<std::string_view, 3> parts;
  size_t count;
};
constexpr std::array<MergedProjection, 2> kMergedProjections{
    {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}, 3}, {"gate_up_proj", {"gate_proj", "up_proj", ""}, 2}}};

}  // namespace

std::string ExactPattern(std::string_view name) {
  std::string pattern = "^";
  for (const char c : name) {
    if (kSpecial.find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern + "$";
}

std::optional<std::string> ExactName(std::string_view pattern) {
  if (pattern.size() < 2 || pattern.front() != '^' || pattern.back() != '$') return std::nullopt;
  std::string name;
  for (size_t i = 1; i + 1 < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 2 < pattern.size()) {
      name += pattern[++i];
    } else if (kSpecial.find(pattern[i]) == std::string_view::npos) {
      name += pattern[i];
    } else {
      return std::nullopt;
    }
  }
  return ExactPattern(name) == pattern ? std::optional(name) : std::nullopt;
}

Json ToJson(const QuantizationConfig& config) {
  return config.settings.format == WeightFormat::kCompressedTensors ? ToCompressedTensorsJson(config)
                                                                    : ToGptqJson(config);
}

QuantizationConfig ParseQuantizationConfig(const Json& json, std::string_view where) {
  if (!json.is_object()) throw Error("the quantization config is not an object", where, "repair the file");
  const std::string method =
      config_json::Text(json, "quant_method", config_json::Text(json, "method", "gptq", where), where);
  if (method == "compressed-tensors") return ParseCompressedTensorsConfig(json, where);
  if (method == "gptq") return ParseGptqConfig(json, where);
  config_json::Bad(where, "quant_method", method, "only gptq and compressed-tensors can be read");
}

std::optional<LinearSettings> SettingsOf(const QuantizationConfig& config, std::string_view module) {
  CHECK(module.size() < 10000);
  for (const LinearOverride& entry : config.overrides) {
    if (Matches(entry, module)) return entry.settings;
  }
  return config.settings;
}

std::vector<std::string> AddOverrides(
    const std::vector<std::pair<std::string, std::optional<LinearSettings>>>& modules,
    QuantizationConfig& config) {
  std::vector<std::string> warnings;
  std::map<std::string, std::optional<LinearSettings>> changed;
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
      const bool by_name = config.settings.format != WeightFormat::kCompressedTensors;  // readers merge there
      if (agree && by_name && part == parts.begin()) {
        config.overrides.push_back({ExactPattern(parent + std::string(merged.name)), settings});
      } else if (!agree) {
        warnings.push_back(Concat(name, ": vLLM and SGLang merge it with its neighbours into ", merged.name,
                                  " and need equal bits and group sizes there"));
      }
    }
  }
  return warnings;
}

std::vector<std::string> SettingWarnings(const QuantizationConfig& config) {
  std::vector<std::string> warnings;
  const LinearSettings& settings = config.settings;
  const bool compressed = settings.format == WeightFormat::kCompressedTensors;
  if (!settings.symmetric && !compressed)
    warnings.push_back("vLLM and SGLang's Marlin kernels read symmetric GPTQ checkpoints only");
  if (settings.bits != 4 && settings.bits != 8) {
    warnings.push_back(Concat(compressed ? "vLLM and compressed-tensors read" : "vLLM reads",
                              " 4 and 8 bits, not ", settings.bits));
  }
  constexpr std::array<int64_t, 4> kGroupSizes{-1, 32, 64, 128};
  if (std::find(kGroupSizes.begin(), kGroupSizes.end(), settings.group_size) == kGroupSizes.end()) {
    warnings.push_back(
        Concat("vLLM reads group sizes of 32, 64, 128 and whole rows, not ", settings.group_size));
  }
  if (settings.format == WeightFormat::kGptqV2)
    warnings.push_back("SGLang's GPTQ kernels expect gptq, not gptq_v2");
  if (settings.format == WeightFormat::kGptq && !settings.symmetric)
    warnings.push_back("GPTQModel reads asymmetric checkpoints of other programs as gptq_v2 only");
  return warnings;
}

}  // namespace gptq
