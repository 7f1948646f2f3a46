#include "quant/stored_tensors.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"

namespace gptq {

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
                "quantized checkpoints hold int32 codes and float scales");
  }
}

void CheckCodes(const TensorView& view, std::string_view tensor, std::string_view name) {
  CheckType(view, tensor, view.dtype == DType::kI32, name);
}

void CheckScales(const TensorView& view, std::string_view tensor, std::string_view name) {
  CheckType(view, tensor,
            view.dtype == DType::kF16 || view.dtype == DType::kBF16 || view.dtype == DType::kF32, name);
}

std::vector<int32_t> Words(const TensorView& view) {
  std::vector<int32_t> words(static_cast<size_t>(view.elements()));
  if (!words.empty())
    std::copy_n(view.data, words.size() * sizeof(int32_t), reinterpret_cast<std::byte*>(words.data()));
  return words;
}

std::vector<int32_t> GroupIndex(const std::optional<TensorView>& stored, std::string_view tensor,
                                int64_t columns, int64_t groups, int64_t size, std::string_view name) {
  std::vector<int32_t> index(static_cast<size_t>(columns));
  if (!stored || stored->elements() == 0) {
    for (int64_t c = 0; c < columns; ++c) index[c] = static_cast<int32_t>(c / size);
    return index;
  }
  CheckCodes(*stored, tensor, name);
  if (stored->shape != Shape{columns}) {
    throw Error(Concat(tensor, " has shape ", ToString(stored->shape), " for ", columns, " inputs"), name,
                "the checkpoint is damaged");
  }
  index = Words(*stored);
  for (const int32_t group : index) {
    if (group < 0 || group >= groups) {
      throw Error(Concat(tensor, " names group ", group, " of ", groups), name, "the checkpoint is damaged");
    }
  }
  return index;
}

void SetGroups(int64_t size, std::string_view name, PackedWeight& weight) {
  if (size != -1 && size < 1)
    throw Error(Concat("group_size is ", size), name, "it must be -1 or at least 1");
  weight.group_size = size < 0 ? std::max<int64_t>(weight.columns, 1) : size;
  weight.groups = weight.columns / weight.group_size + (weight.columns % weight.group_size != 0 ? 1 : 0);
}

void CheckFinite(const PackedWeight& weight, std::string_view name) {
  for (size_t i = 0; i < weight.scales.size(); ++i) {
    if (std::isfinite(weight.scales[i])) continue;
    throw Error(Concat("a scale of output ", static_cast<int64_t>(i) / weight.groups, " is NaN or infinite"),
                name, "the checkpoint is damaged");
  }
}

bool ZerosInTheMiddle(const PackedWeight& weight) {
  const int middle = 1 << (weight.bits - 1);
  return std::all_of(weight.zeros.begin(), weight.zeros.end(), [&](int16_t zero) { return zero == middle; });
}

}  // namespace gptq
