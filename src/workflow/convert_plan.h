// What becomes of each quantized linear in another format; nothing is written here.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/progress.h"
#include "quant/quantization_config.h"
#include "workflow/convert.h"
#include "workflow/output_form.h"

namespace gptq {

struct ConvertPlan {
  OutputLinears linears;                     // written from their codes
  std::map<std::string, DType> types;        // of other matrices, by module, where they change
  std::optional<QuantizationConfig> config;  // of a quantized folder
  std::vector<ConvertedLinear> report;
  int64_t quantized_linears = 0, kept_linears = 0;  // before or after; of these, with all their codes
};

ConvertPlan PlanConversion(ModelFiles& model, const ConvertOptions& options, Backend& backend,
                           Progress& progress);

// The codes of a module in Hugging Face's row order, in the widths of `settings` where they are wider;
// nothing where the module is not stored as codes.
std::optional<PackedWeight> LoadCodes(ModelFiles& model, const std::string& module);
PackedWeight Widened(PackedWeight weight, int bits);

}  // namespace gptq
