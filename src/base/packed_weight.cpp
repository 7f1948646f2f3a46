#include "base/packed_weight.h"

#include <algorithm>

namespace gptq {

bool PackedWeight::SequentialGroups() const {
  int32_t differing = 0;
  for (int64_t begin = 0; begin < columns; begin += group_size) {
    const auto group = static_cast<int32_t>(begin / group_size);
    const int64_t end = std::min(columns, begin + group_size);
    for (int64_t c = begin; c < end; ++c) differing |= group_index[static_cast<size_t>(c)] ^ group;
  }
  return differing == 0;
}

void DequantizeRows(const PackedWeight& weight, int64_t first, int64_t count, float* destination) {
  const bool sequential = weight.SequentialGroups();
  for (int64_t row = first; row < first + count; ++row, destination += weight.columns) {
    if (!sequential) {
      DequantizeRow(weight, row, destination);
      continue;
    }
    const uint8_t* codes = weight.codes.data() + row * weight.columns;
    for (int64_t group = 0; group * weight.group_size < weight.columns; ++group) {
      const int32_t zero = weight.zeros[static_cast<size_t>(row * weight.groups + group)];
      const float scale = weight.scales[static_cast<size_t>(row * weight.groups + group)];
      const int64_t begin = group * weight.group_size;
      const int64_t end = std::min(weight.columns, begin + weight.group_size);
      for (int64_t c = begin; c < end; ++c) destination[c] = static_cast<float>(codes[c] - zero) * scale;
    }
  }
}

void DequantizeRow(const PackedWeight& weight, int64_t row, float* destination) {
  const uint8_t* codes = weight.codes.data() + row * weight.columns;
  const float* scales = weight.scales.data() + row * weight.groups;
  const int16_t* zeros = weight.zeros.data() + row * weight.groups;
  for (int64_t c = 0; c < weight.columns; ++c) {
    const int32_t group = weight.group_index[static_cast<size_t>(c)];
    destination[c] = static_cast<float>(codes[c] - zeros[group]) * scales[group];
  }
}

}  // namespace gptq
