// Which linears of a folder are quantized and how, as its `quantization_config` says it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "quant/weight_format.h"

namespace gptq {

// Linears that differ. Readers match the pattern from the start of a module's name; the first that matches
// wins.
struct LinearOverride {
  std::string pattern;                     // regular expression
  std::optional<LinearSettings> settings;  // absent: the module is not quantized
};

struct QuantizationConfig {
  LinearSettings settings;        // of all linears that no override names
  bool activation_order = false;  // desc_act: g_idx is not sequential
  bool lm_head = false;           // the head is quantized too
  std::vector<LinearOverride> overrides;
  // For the reader's information:
  std::string quantizer;  // "program:version"
  std::optional<double> damping;
  bool static_groups = false;
  bool true_sequential = true;
  bool group_aware_order = false;
};

// As config.json holds it: gptq_config.h and compressed_tensors_config.h, by config.settings.format.
Json ToJson(const QuantizationConfig& config);
// By its `quant_method`. Throws Error naming `where` for other methods.
QuantizationConfig ParseQuantizationConfig(const Json& json, std::string_view where);

// A pattern for exactly this name, and the name of such a pattern.
std::string ExactPattern(std::string_view name);
std::optional<std::string> ExactName(std::string_view pattern);

// Settings of the module, e.g. "model.layers.0.self_attn.q_proj"; absent where an override leaves it
// unquantized.
std::optional<LinearSettings> SettingsOf(const QuantizationConfig& config, std::string_view module);

// Adds overrides for modules that differ from config.settings (absent: not quantized). Where the parts of a
// projection that vLLM and SGLang merge (q,k,v; gate,up) agree, the merged name gets the override too; where
// they do not agree, a sentence about it is returned.
std::vector<std::string> AddOverrides(
    const std::vector<std::pair<std::string, std::optional<LinearSettings>>>& modules,
    QuantizationConfig& config);

// What readers will say about the settings whatever the shapes, one sentence each.
std::vector<std::string> SettingWarnings(const QuantizationConfig& config);

}  // namespace gptq
