#include "quant/gptq_format.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/convert.h"
#include "base/error.h"
#include "quant/bit_stream.h"

namespace gptq {
namespace {

constexpr int64_t kGreatestSize = int64_t{1} << 31;

void CheckBits(int bits, std::string_view name) {
  if (!GptqBits(bits)) {
    throw Error(Concat("the GPTQ format has no ", bits, "-bit codes"), name,
                "use 2, 3, 4 or 8 bits, or another format");
  }
}

// [first, second], or any size where negative.
void CheckShape(const TensorView& view, std::string_view tensor, int64_t first, int64_t second,
                std::string_view name) {
  const bool fits = view.shape.size() == 2 && view.shape[0] >= 0 && view.shape[1] >= 0 &&
                    (first < 0 || view.shape[0] == first) && (second < 0 || view.shape[1] == second) &&
                    view.shape[0] < kGreatestSize && view.shape[1] < kGreatestSize;
  if (fits) return;
  const auto size = [](int64_t n) { return n < 0 ? std::string("any") : std::to_string(n); };
  throw Error(Concat(tensor, " has shape ", ToString(view.shape), " where [", size(first), ", ", size(second),
                     "] belongs"),
              name, "the checkpoint is damaged, or its quantization config says wrong bits or group_size");
}

void CheckType(const TensorView& view, std::string_view tensor, bool good, std::string_view name) {
  if (!good) {
    throw Error(Concat(tensor, " has the type ", Name(view.dtype)), name,
                "GPTQ checkpoints hold int32 codes and float scales");
  }
}

// An owned copy, as the stored bytes may be unaligned.
std::vector<int32_t> Words(const TensorView& view) {
  std::vector<int32_t> words(static_cast<size_t>(view.elements()));
  if (!words.empty())
    std::copy_n(view.data, words.size() * sizeof(int32_t), reinterpret_cast<std::byte*>(words.data()));
  return words;
}

std::vector<int32_t> ReadGroupIndex(const GptqTensorViews& tensors, int64_t columns, int64_t groups,
                                    int64_t size, std::string_view name) {
  std::vector<int32_t> index(static_cast<size_t>(columns));
  if (!tensors.g_idx || tensors.g_idx->elements() == 0) {
    for (int64_t c = 0; c < columns; ++c) index[c] = static_cast<int32_t>(c / size);
    return index;
  }
  index = Words(*tensors.g_idx);
  for (const int32_t group : index) {
    if (group < 0 || group >= groups) {
      throw Error(Concat("g_idx names group ", group, " of ", groups), name, "the checkpoint is damaged");
    }
  }
  return index;
}

// Inputs of the linear: the length of g_idx, else what the caller knows, else as many as fit.
int64_t FindColumns(const GptqTensorViews& tensors, const GptqSettings& settings,
                    std::optional<int64_t> columns, std::string_view name) {
  if (tensors.g_idx && !(tensors.g_idx->shape.size() == 1 && tensors.g_idx->shape[0] == 0)) {
    CheckType(*tensors.g_idx, "g_idx", tensors.g_idx->dtype == DType::kI32, name);
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
      const float scale = values[g * weight.rows + r];
      if (!std::isfinite(scale)) {
        throw Error(Concat("a scale of output ", r, " is NaN or infinite"), name,
                    "the checkpoint is damaged");
      }
      weight.scales[r * weight.groups + g] = scale;
    }
  }
}

void ReadZeros(const TensorView& view, const GptqSettings& settings, std::string_view name,
               std::vector<std::string>* warnings, PackedWeight& weight) {
  const std::vector<int32_t> words = Words(view);
  weight.zeros.resize(weight.scales.size());
  const int middle = 1 << (settings.bits - 1);
  const int64_t stride = view.shape[1];
  for (int64_t g = 0; g < weight.groups; ++g) {
    UnpackLanes(1, weight.rows, settings.bits, words.data() + g * stride, 1,
                [&](int64_t r, int64_t, uint32_t zero) {
                  weight.zeros[r * weight.groups + g] = static_cast<int16_t>(zero);
                });
  }
  const bool all_middle =
      std::all_of(weight.zeros.begin(), weight.zeros.end(), [&](int16_t zero) { return zero == middle; });
  if (settings.version == GptqVersion::kV1) {
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
  weight.symmetric =
      std::all_of(weight.zeros.begin(), weight.zeros.end(), [&](int16_t zero) { return zero == middle; });
}

Tensor PackZeros(const PackedWeight& weight, GptqVersion version, std::string_view name) {
  const int least = version == GptqVersion::kV1 ? 1 : 0;
  for (const int16_t zero : weight.zeros) {
    if (zero < least || zero > (1 << weight.bits) - 1 + least) {
      throw Error(
          Concat("the format cannot say a zero of ", zero), name,
          version == GptqVersion::kV1 ? "quantize again for this format, or write gptq_v2" : "write gptq");
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

bool GptqBits(int bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 8; }

GptqTensors ToGptqTensors(const PackedWeight& weight, GptqVersion version, std::string_view name) {
  CheckBits(weight.bits, name);
  GptqTensors tensors;
  tensors.qzeros = PackZeros(weight, version, name);
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

PackedWeight FromGptqTensors(const GptqTensorViews& tensors, const GptqSettings& settings,
                             std::string_view name, std::vector<std::string>* warnings,
                             std::optional<int64_t> columns) {
  CheckBits(settings.bits, name);
  CheckType(tensors.qweight, "qweight", tensors.qweight.dtype == DType::kI32, name);
  CheckType(tensors.qzeros, "qzeros", tensors.qzeros.dtype == DType::kI32, name);
  const DType scale_type = tensors.scales.dtype;
  CheckType(tensors.scales, "scales",
            scale_type == DType::kF16 || scale_type == DType::kBF16 || scale_type == DType::kF32, name);
  CheckShape(tensors.qweight, "qweight", -1, -1, name);

  PackedWeight weight;
  weight.bits = settings.bits;
  weight.rows = tensors.qweight.shape[1];
  weight.columns = FindColumns(tensors, settings, columns, name);
  if (settings.group_size != -1 && settings.group_size < 1) {
    throw Error(Concat("group_size is ", settings.group_size), name, "it must be -1 or at least 1");
  }
  weight.group_size = settings.group_size < 0 ? std::max<int64_t>(weight.columns, 1) : settings.group_size;
  weight.groups = weight.columns / weight.group_size + (weight.columns % weight.group_size != 0 ? 1 : 0);
  CheckShape(tensors.qweight, "qweight", PackedWords(weight.columns, weight.bits), weight.rows, name);
  CheckShape(tensors.scales, "scales", weight.groups, weight.rows, name);
  CheckShape(tensors.qzeros, "qzeros", weight.groups, PackedWords(weight.rows, weight.bits), name);

  weight.group_index = ReadGroupIndex(tensors, weight.columns, weight.groups, weight.group_size, name);
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

std::vector<std::string> ShapeWarnings(int64_t rows, int64_t columns, const GptqSettings& settings) {
  std::vector<std::string> warnings;
  const auto warn = [&](const auto&... parts) { warnings.push_back(Concat(parts...)); };
  // Codes in the fewest whole words.
  const int64_t pack = settings.bits == 3 ? 32 : 32 / settings.bits;
  if (rows % pack != 0 || columns % pack != 0) {
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
