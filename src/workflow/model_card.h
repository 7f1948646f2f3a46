// The README.md of a quantized model: what readers of model hubs look for.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "workflow/model_files.h"
#include "workflow/quantize_report.h"

namespace gptq {

// Base model, licence, method, settings, measured loss, how to load it. Markdown with front matter; the same
// for the same input: no times, no paths. `refusals`: what other programs will say, one sentence each.
std::string ModelCard(const QuantizeReport& report, const ModelFiles& source,
                      std::span<const std::string> refusals);

// All that the card takes from the source: its name and licence.
std::string CardSource(const ModelFiles& source);

// Of a model that was converted to `format`: the source's card, and that. Absent where the source has none.
std::optional<std::string> ConvertedCard(const ModelFiles& source, std::string_view format);

}  // namespace gptq
