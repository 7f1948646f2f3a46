// The ways to store a quantized model, and what each of them can hold.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace gptq {

enum class WeightFormat {
  kGptq,               // AutoGPTQ's, checkpoint_format "gptq" (v1: zeros are stored less one)
  kGptqV2,             // GPTQModel's "gptq_v2"
  kCompressedTensors,  // llm-compressor's pack-quantized
  kGguf,               // one file of llama.cpp's
  kPlain,              // a folder of float tensors, nothing quantized
};

// How one linear is stored in a folder.
struct LinearSettings {
  int bits = 4;
  int64_t group_size = 128;  // -1 = the whole row
  bool symmetric = true;
  WeightFormat format = WeightFormat::kGptq;

  bool operator==(const LinearSettings&) const = default;
};

// As on the command line: "gptq", "gptq_v2", "compressed-tensors", "gguf", "safetensors" (plain). The parser
// throws UsageError.
std::string_view Name(WeightFormat format);
WeightFormat ParseWeightFormat(std::string_view name);

bool HoldsBits(WeightFormat format, int bits);
// "2, 3, 4 or 8 bits"
std::string BitsOf(WeightFormat format);

}  // namespace gptq
