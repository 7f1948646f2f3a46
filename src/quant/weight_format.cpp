#include "quant/weight_format.h"

#include "base/error.h"

namespace gptq {
namespace {

constexpr struct {
  WeightFormat format;
  std::string_view name, bits;
} kFormats[] = {
    {WeightFormat::kGptq, "gptq", "2, 3, 4 or 8 bits"},
    {WeightFormat::kGptqV2, "gptq_v2", "2, 3, 4 or 8 bits"},
    {WeightFormat::kCompressedTensors, "compressed-tensors", "2 to 8 bits"},
    {WeightFormat::kGguf, "gguf", "2 to 8 bits"},
    {WeightFormat::kPlain, "safetensors", "no quantized weights"},
};

}  // namespace

std::string_view Name(WeightFormat format) {
  for (const auto& entry : kFormats) {
    if (entry.format == format) return entry.name;
  }
  CHECK(false);
  return "";
}

WeightFormat ParseWeightFormat(std::string_view name) {
  std::string known;
  for (const auto& entry : kFormats) {
    if (entry.name == name) return entry.format;
    known += Concat(known.empty() ? "" : ", ", entry.name);
  }
  throw UsageError(Concat("--format ", name, " is not known; known are ", known));
}

bool HoldsBits(WeightFormat format, int bits) {
  if (bits < 2 || bits > 8 || format == WeightFormat::kPlain) return false;
  const bool gptq = format == WeightFormat::kGptq || format == WeightFormat::kGptqV2;
  return !gptq || bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

std::string BitsOf(WeightFormat format) {
  for (const auto& entry : kFormats) {
    if (entry.format == format) return std::string(entry.bits);
  }
  CHECK(false);
  return "";
}

}  // namespace gptq
