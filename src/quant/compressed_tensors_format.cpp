#include "quant/compressed_tensors_format.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/convert.h"
#include "base/error.h"
#include "quant/bit_stream.h"
#include "quant/stored_tensors.h"

namespace gptq {
namespace {

Tensor PackZeroPoints(const PackedWeight& weight, std::string_view name) {
  for (const int16_t zero : weight.zeros) {
    if (zero < 0 || zero >= 1 << weight.bits)
      throw Error(Concat("the format cannot say a zero of ", zero), name, "write gptq");
  }
  Tensor packed(DType::kI32, {PackedWords(weight.rows, weight.bits), weight.groups});
  PackLanes(
      weight.groups, weight.rows, weight.bits,
      [&](int64_t r, int64_t g) { return static_cast<uint32_t>(weight.zeros[r * weight.groups + g]); },
      packed.As<int32_t>().data(), weight.groups);
  return packed;
}

void ReadZeroPoints(const std::optional<TensorView>& stored, std::string_view name, PackedWeight& weight) {
  weight.zeros.assign(weight.scales.size(), static_cast<int16_t>(1 << (weight.bits - 1)));
  if (!stored) return;
  CheckCodes(*stored, "weight_zero_point", name);
  CheckShape(*stored, "weight_zero_point", PackedWords(weight.rows, weight.bits), weight.groups, name);
  const std::vector<int32_t> words = Words(*stored);
  UnpackLanes(weight.groups, weight.rows, weight.bits, words.data(), weight.groups,
              [&](int64_t r, int64_t g, uint32_t zero) {
                weight.zeros[r * weight.groups + g] = static_cast<int16_t>(zero);
              });
}

void ReadShape(const TensorView& stored, std::string_view name, PackedWeight& weight) {
  CheckType(stored, "weight_shape", stored.dtype == DType::kI64, name);
  std::array<int64_t, 2> shape{};
  if (stored.shape != Shape{2}) {
    throw Error(Concat("weight_shape has shape ", ToString(stored.shape)), name, "the checkpoint is damaged");
  }
  std::memcpy(shape.data(), stored.data, sizeof(shape));
  for (const int64_t size : shape) {
    if (size < 0 || size >= kGreatestSize)
      throw Error(Concat("weight_shape holds ", size), name, "the checkpoint is damaged");
  }
  weight.rows = shape[0];
  weight.columns = shape[1];
}

}  // namespace

CompressedTensors ToCompressedTensors(const PackedWeight& weight, bool symmetric, bool sequential,
                                      std::string_view name) {
  CHECK(HoldsBits(WeightFormat::kCompressedTensors, weight.bits));
  CompressedTensors tensors;
  const int64_t row_words = PackedWords(weight.columns, weight.bits);
  tensors.packed = Tensor(DType::kI32, {weight.rows, row_words});
  for (int64_t r = 0; r < weight.rows; ++r) {
    const uint8_t* codes = weight.codes.data() + r * weight.columns;
    PackLanes(
        1, weight.columns, weight.bits, [&](int64_t k, int64_t) { return uint32_t{codes[k]}; },
        tensors.packed.As<int32_t>().data() + r * row_words, 1);
  }
  Tensor scales(DType::kF32, {weight.rows, weight.groups});
  std::copy(weight.scales.begin(), weight.scales.end(), scales.As<float>().begin());
  tensors.scale = FromFloat(scales, weight.scale_type);
  tensors.shape = Tensor(DType::kI64, {2});
  tensors.shape.As<int64_t>()[0] = weight.rows;
  tensors.shape.As<int64_t>()[1] = weight.columns;
  if (!symmetric) {
    tensors.zero_point = PackZeroPoints(weight, name);
  } else if (!ZerosInTheMiddle(weight)) {
    throw Error("zeros outside the middle of a symmetric grid", name, "write it as asymmetric");
  }
  CHECK(!sequential || weight.SequentialGroups());
  if (!sequential) {
    tensors.group_index = Tensor(DType::kI32, {weight.columns});
    std::copy(weight.group_index.begin(), weight.group_index.end(),
              tensors.group_index->As<int32_t>().begin());
  }
  return tensors;
}

PackedWeight FromCompressedTensors(const CompressedTensorViews& tensors, const LinearSettings& settings,
                                   std::string_view name) {
  PackedWeight weight;
  weight.bits = settings.bits;
  ReadShape(tensors.shape, name, weight);
  SetGroups(settings.group_size, name, weight);
  CheckCodes(tensors.packed, "weight_packed", name);
  CheckScales(tensors.scale, "weight_scale", name);
  const int64_t row_words = PackedWords(weight.columns, weight.bits);
  CheckShape(tensors.packed, "weight_packed", weight.rows, row_words, name);
  CheckShape(tensors.scale, "weight_scale", weight.rows, weight.groups, name);

  weight.group_index =
      GroupIndex(tensors.group_index, "weight_g_idx", weight.columns, weight.groups, weight.group_size, name);
  const Tensor scales = ToFloat(tensors.scale);
  weight.scale_type = tensors.scale.dtype;
  weight.scales.assign(scales.As<float>().begin(), scales.As<float>().end());
  CheckFinite(weight, name);
  if (!settings.symmetric && !tensors.zero_point)
    throw Error("weight_zero_point is missing", name, "the checkpoint is damaged");
  ReadZeroPoints(tensors.zero_point, name, weight);
  weight.symmetric = ZerosInTheMiddle(weight);

  weight.codes.resize(static_cast<size_t>(weight.rows * weight.columns));
  const std::vector<int32_t> words = Words(tensors.packed);
  for (int64_t r = 0; r < weight.rows; ++r) {
    uint8_t* codes = weight.codes.data() + r * weight.columns;
    UnpackLanes(1, weight.columns, weight.bits, words.data() + r * row_words, 1,
                [&](int64_t k, int64_t, uint32_t code) { codes[k] = static_cast<uint8_t>(code); });
  }
  return weight;
}

}  // namespace gptq
