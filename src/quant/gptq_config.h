// `quantization_config` of config.json, and quantize_config.json, as GPTQ's readers and writers understand
// it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "quant/gptq_format.h"

namespace gptq {

// A `dynamic` entry. Readers match the pattern from the start of a module's name; the first that matches
// wins.
struct GptqOverride {
  std::string pattern;                   // regular expression, without its "+:" or "-:"
  std::optional<GptqSettings> settings;  // absent: the module is not quantized
};

struct GptqConfig {
  GptqSettings settings;          // of all linears that no override names
  bool activation_order = false;  // desc_act: g_idx is not sequential
  bool lm_head = false;           // the head is quantized too
  std::vector<GptqOverride> overrides;
  // For the reader's information:
  std::string quantizer;  // "program:version"
  std::optional<double> damping;
  bool static_groups = false;
  bool true_sequential = true;
  bool group_aware_order = false;
};

// What transformers, GPTQModel, vLLM and SGLang read.
Json ToJson(const GptqConfig& config);

// Throws Error naming `where` and the key for another method, values that are impossible, and what is not
// supported (Marlin's own format, packing other than int32).
GptqConfig ParseGptqConfig(const Json& json, std::string_view where);

// Settings of the module, e.g. "model.layers.0.self_attn.q_proj"; absent where an override leaves it
// unquantized.
std::optional<GptqSettings> SettingsOf(const GptqConfig& config, std::string_view module);

// Adds overrides for modules that differ from config.settings (absent: not quantized). Where the parts of a
// projection that vLLM and SGLang merge (q,k,v; gate,up) agree, the merged name gets the override too; where
// they do not agree, a sentence about it is returned.
std::vector<std::string> AddOverrides(
    const std::vector<std::pair<std::string, std::optional<GptqSettings>>>& modules, GptqConfig& config);

// What readers will say about the settings whatever the shapes, one sentence each.
std::vector<std::string> SettingWarnings(const GptqConfig& config);

}  // namespace gptq
