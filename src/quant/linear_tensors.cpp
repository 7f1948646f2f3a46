#include "quant/linear_tensors.h"

#include <cstring>

#include "base/error.h"
#include "quant/bit_stream.h"
#include "quant/compressed_tensors_format.h"
#include "quant/gptq_format.h"
#include "quant/stored_tensors.h"

namespace gptq {
namespace {

constexpr std::string_view kGptqKinds[] = {"qweight", "qzeros", "scales", "g_idx"};
constexpr std::string_view kCompressedKinds[] = {"weight_packed", "weight_scale", "weight_zero_point",
                                                 "weight_shape", "weight_g_idx"};

}  // namespace

std::vector<TensorDeclaration> DeclareLinear(const std::string& module, const LinearShape& shape,
                                             const LinearSettings& settings) {
  const auto words = [&](int64_t count) { return PackedWords(count, settings.bits); };
  if (settings.format != WeightFormat::kCompressedTensors) {
    return {{module + ".qweight", DType::kI32, {words(shape.columns), shape.rows}},
            {module + ".qzeros", DType::kI32, {shape.groups, words(shape.rows)}},
            {module + ".scales", shape.scale_type, {shape.groups, shape.rows}},
            {module + ".g_idx", DType::kI32, {shape.columns}}};
  }
  std::vector<TensorDeclaration> tensors{
      {module + ".weight_packed", DType::kI32, {shape.rows, words(shape.columns)}},
      {module + ".weight_scale", shape.scale_type, {shape.rows, shape.groups}},
      {module + ".weight_shape", DType::kI64, {2}}};
  if (!settings.symmetric)
    tensors.push_back({module + ".weight_zero_point", DType::kI32, {words(shape.rows), shape.groups}});
  if (!shape.sequential_groups) tensors.push_back({module + ".weight_g_idx", DType::kI32, {shape.columns}});
  return tensors;
}

std::vector<std::pair<std::string, Tensor>> StoreLinear(const std::string& module, const PackedWeight& weight,
                                                        const LinearSettings& settings,
                                                        bool sequential_groups) {
  std::vector<std::pair<std::string, Tensor>> stored;
  const auto add = [&](const char* kind, Tensor tensor) {
    stored.emplace_back(module + "." + kind, std::move(tensor));
  };
  if (settings.format == WeightFormat::kCompressedTensors) {
    CompressedTensors tensors = ToCompressedTensors(weight, settings.symmetric, sequential_groups, module);
    add("weight_packed", std::move(tensors.packed));
    add("weight_scale", std::move(tensors.scale));
    add("weight_shape", std::move(tensors.shape));
    if (tensors.zero_point) add("weight_zero_point", *std::move(tensors.zero_point));
    if (tensors.group_index) add("weight_g_idx", *std::move(tensors.group_index));
    return stored;
  }
  GptqTensors tensors = ToGptqTensors(weight, settings.format, module);
  add("qweight", std::move(tensors.qweight));
  add("qzeros", std::move(tensors.qzeros));
  add("scales", std::move(tensors.scales));
  add("g_idx", std::move(tensors.g_idx));
  return stored;
}

std::string CodesName(const std::string& module, WeightFormat format) {
  return module + (format == WeightFormat::kCompressedTensors ? ".weight_packed" : ".qweight");
}

std::optional<std::string> ModuleOf(std::string_view tensor, WeightFormat format) {
  const size_t dot = tensor.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const auto belongs = [&](const auto& kinds) {
    for (const std::string_view kind : kinds) {
      if (tensor.substr(dot + 1) == kind) return true;
    }
    return false;
  };
  const bool found =
      format == WeightFormat::kCompressedTensors ? belongs(kCompressedKinds) : belongs(kGptqKinds);
  return found ? std::optional(std::string(tensor.substr(0, dot))) : std::nullopt;
}

PackedWeight LoadLinear(const FindTensor& find, const std::string& module, const LinearSettings& settings,
                        const std::string& where, std::vector<std::string>* warnings,
                        std::optional<int64_t> columns) {
  const auto get = [&](const char* kind) {
    const std::optional<TensorView> view = find(module + "." + kind);
    if (view) return *view;
    throw Error(Concat("tensor '", module, ".", kind, "' is missing"), where, "fetch the model again");
  };
  const std::string name = where + ": " + module;
  if (settings.format == WeightFormat::kCompressedTensors) {
    CompressedTensorViews views{get("weight_packed"), get("weight_scale"), get("weight_shape"), {}, {}};
    views.zero_point = find(module + ".weight_zero_point");
    views.group_index = find(module + ".weight_g_idx");
    return FromCompressedTensors(views, settings, name);
  }
  const GptqTensorViews views{get("qweight"), get("qzeros"), get("scales"), find(module + ".g_idx")};
  return FromGptqTensors(views, settings, name, warnings, columns);
}

int64_t StoredWeights(const FindTensor& find, const std::string& module, const LinearSettings& settings) {
  const std::optional<TensorView> codes = find(CodesName(module, settings.format));
  if (!codes || codes->shape.size() != 2) return 0;
  if (settings.format == WeightFormat::kCompressedTensors) {
    const std::optional<TensorView> shape = find(module + ".weight_shape");
    if (!shape || shape->dtype != DType::kI64 || shape->shape != Shape{2}) return 0;
    int64_t sizes[2];
    std::memcpy(sizes, shape->data, sizeof(sizes));
    const bool sane = sizes[0] >= 0 && sizes[1] >= 0 && sizes[0] < kGreatestSize && sizes[1] < kGreatestSize;
    return sane ? sizes[0] * sizes[1] : 0;
  }
  const std::optional<TensorView> group_index = find(module + ".g_idx");  // one entry an input, no padding
  if (group_index && group_index->elements() > 0) return group_index->elements() * codes->shape[1];
  return codes->elements() * 32 / settings.bits;
}

}  // namespace gptq
