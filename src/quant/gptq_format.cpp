#include "quant/gptq_format.h"

#include <algorithm>

#include "base/convert.h"
#include "base/error.h"
#include "quant/bit_stream.h"
#include "quant/stored_tensors.h"

namespace gptq {
namespace {

void CheckBits(int bits, std::string_view name) {
  if (!HoldsBits(WeightFormat::kGptq, bits)) {
    throw Error(Concat("the GPTQ format has no ", bits, "-bit codes"), name,
                "use 2, 3, 4 or 8 bits, or another format");
  }
}

// Inputs of the linear: the length of g_idx, else what the caller knows, else as many as fit.
int64_t FindColumns(const GptqTensorViews& tensors, const LinearSettings& settings,
                    std::optional<int64_t> columns, std::string_view name) {
  if (tensors.g_idx && !(tensors.g_idx->shape.size() == 1 && tensors.g_idx->shape[0] == 0)) {
    CheckCodes(*tensors.g_idx, "g_idx", name);
    if (tensors.g_idx->shape.size() != 1 || tensors.g_idx->shape[0] >= kGreatestSize) {
      throw Error(Concat("g_idx has shape ", ToString(tensors.g_idx->shape)), name,
                  "the checkpoint is damaged");
    }
    return tensors.g_idx->shape[0];
  }
  return columns ? *columns : tensors.qweight.shape[0] * 32 / settings.bits;
}

void ReadScales(const TensorView& view, std::string_view name, PackedWeight& weight) {
  const Tensor scales = ToFloat(view);
  const std::span<const float> values = scales.As<float>();
  weight.scale_type = view.dtype;
  weight.scales.resize(values.size());
  for (int64_t g = 0; g < weight.groups; ++g) {
    for (int64_t r = 0; r < weight.rows; ++r) {
      weight.scales[r * weight.groups + g] = values[g * weight.rows + r];
    }
  }
  CheckFinite(weight, name);
}

void ReadZeros(const TensorView& view, const LinearSettings& settings, std::string_view name,
               std::vector<std::string>* warnings, PackedWeight& weight) {
  const std::vector<int32_t> words = Words(view);
  weight.zeros.resize(weight.scales.size());
  const int64_t stride = view.shape[1];
  for (int64_t g = 0; g < weight.groups; ++g) {
    UnpackLanes(1, weight.rows, settings.bits, words.data() + g * stride, 1,
                [&](int64_t r, int64_t, uint32_t zero) {
                  weight.zeros[r * weight.groups + g] = static_cast<int16_t>(zero);
                });
  }
  const bool all_middle = ZerosInTheMiddle(weight);
  if (settings.format == WeightFormat::kGptq) {
    if (settings.symmetric && all_middle && !weight.zeros.empty()) {
      if (warnings) {
        warnings->push_back(
            Concat(name, ": labelled \"gptq\" but its zeros are those of \"gptq_v2\"; read as gptq_v2"));
      }
    } else {
      const int greatest = (1 << settings.bits) - 1;
      const bool wraps = std::find(weight.zeros.begin(), weight.zeros.end(), greatest) != weight.zeros.end();
      if (wraps && warnings) {
        warnings->push_back(Concat(name, ": stores zeros of ", greatest, ", which readers take as ",
                                   greatest + 1, " (as here) or as 0"));
      }
      for (int16_t& zero : weight.zeros) zero = static_cast<int16_t>(zero + 1);
    }
  }
  weight.symmetric = ZerosInTheMiddle(weight);
}

Tensor PackZeros(const PackedWeight& weight, WeightFormat format, std::string_view name) {
  const int least = format == WeightFormat::kGptq ? 1 : 0;
  for (const int16_t zero : weight.zeros) {
    if (zero < least || zero > (1 << weight.bits) - 1 + least) {
      throw Error(
          Concat("the format cannot say a zero of ", zero), name,
          format == WeightFormat::kGptq ? "quantize again for this format, or write gptq_v2" : "write gptq");
    }
  }
  Tensor packed(DType::kI32, {weight.groups, PackedWords(weight.rows, weight.bits)});
  int32_t* words = packed.As<int32_t>().data();
  for (int64_t g = 0; g < weight.groups; ++g) {
    PackLanes(
        1, weight.rows, weight.bits,
        [&](int64_t r, int64_t) {
          return static_cast<uint32_t>(weight.zeros[r * weight.groups + g] - least);
        },
        words + g * packed.shape()[1], 1);
  }
  return packed;
}

}  // namespace

GptqTensors ToGptqTensors(const PackedWeight& weight, WeightFormat format, std::string_view name) {
  CheckBits(weight.bits, name);
  GptqTensors tensors;
  tensors.qzeros = PackZeros(weight, format, name);
  tensors.qweight = Tensor(DType::kI32, {PackedWords(weight.columns, weight.bits), weight.rows});
  PackLanes(
      weight.rows, weight.columns, weight.bits,
      [&](int64_t k, int64_t r) { return uint32_t{weight.codes[r * weight.columns + k]}; },
      tensors.qweight.As<int32_t>().data(), weight.rows);
  Tensor scales(DType::kF32, {weight.groups, weight.rows});
  const std::span<float> values = scales.As<float>();
  for (int64_t r = 0; r < weight.rows; ++r) {
    for (int64_t g = 0; g < weight.groups; ++g)
      values[g * weight.rows + r] = weight.scales[r * weight.groups + g];
  }
  tensors.scales = FromFloat(scales, weight.scale_type);
  tensors.g_idx = Tensor(DType::kI32, {weight.columns});
  std::copy(weight.group_index.begin(), weight.group_index.end(), tensors.g_idx.As<int32_t>().begin());
  return tensors;
}

PackedWeight FromGptqTensors(const GptqTensorViews& tensors, const LinearSettings& settings,
                             std::string_view name, std::vector<std::string>* warnings,
                             std::optional<int64_t> columns) {
  CheckBits(settings.bits, name);
  CheckCodes(tensors.qweight, "qweight", name);
  CheckCodes(tensors.qzeros, "qzeros", name);
  CheckScales(tensors.scales, "scales", name);
  CheckShape(tensors.qweight, "qweight", -1, -1, name);

  PackedWeight weight;
  weight.bits = settings.bits;
  weight.rows = tensors.qweight.shape[1];
  weight.columns = FindColumns(tensors, settings, columns, name);
  SetGroups(settings.group_size, name, weight);
  CheckShape(tensors.qweight, "qweight", PackedWords(weight.columns, weight.bits), weight.rows, name);
  CheckShape(tensors.scales, "scales", weight.groups, weight.rows, name);
  CheckShape(tensors.qzeros, "qzeros", weight.groups, PackedWords(weight.rows, weight.bits), name);

  weight.group_index =
      GroupIndex(tensors.g_idx, "g_idx", weight.columns, weight.groups, weight.group_size, name);
  ReadScales(tensors.scales, name, weight);
  ReadZeros(tensors.qzeros, settings, name, warnings, weight);
  weight.codes.resize(static_cast<size_t>(weight.rows * weight.columns));
  const std::vector<int32_t> words = Words(tensors.qweight);
  UnpackLanes(weight.rows, weight.columns, weight.bits, words.data(), weight.rows,
              [&](int64_t k, int64_t r, uint32_t code) {
                weight.codes[r * weight.columns + k] = static_cast<uint8_t>(code);
              });
  return weight;
}

std::vector<std::string> ShapeWarnings(int64_t rows, int64_t columns, const LinearSettings& settings) {
  std::vector<std::string> warnings;
  const auto warn = [&](const auto&... parts) { warnings.push_back(Concat(parts...)); };
  // Codes in the fewest whole words.
  const int64_t pack = settings.bits == 3 ? 32 : 32 / settings.bits;
  const bool compressed = settings.format == WeightFormat::kCompressedTensors;
  if (!compressed && (rows % pack != 0 || columns % pack != 0)) {
    warn("GPTQModel, vLLM and SGLang refuse sizes that are not multiples of ", pack, " at ", settings.bits,
         " bits");
  }
  const int64_t group = settings.group_size < 0 ? columns : settings.group_size;
  if (group > 0 && columns % group != 0) {
    warn("vLLM and SGLang refuse inputs that are not a multiple of the group size ", group);
  }
  if (rows % 64 != 0 || columns % 128 != 0) {
    warn("vLLM's and SGLang's Marlin kernels need outputs in multiples of 64 and inputs in multiples of 128");
  }
  return warnings;
}

}  // namespace gptq
