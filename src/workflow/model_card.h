// The README.md of a quantized model: what readers of model hubs look for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "workflow/model_files.h"
#include "workflow/quantize_report.h"

namespace gptq {

// Base model, licence, method, settings, measured loss, how to load it. Markdown with front matter; the same
// for the same input: no times, no paths.
std::string ModelCard(const QuantizeReport& report, const ModelFiles& source);

// All that the card takes from the source: its name and licence.
std::string CardSource(const ModelFiles& source);

// Of a model that was converted to `format`: the source's card, and that. Absent where the source has none.
std::optional<std::string> ConvertedCard(const ModelFiles& source, std::string_view format);

}  // namespace gptq
