#include "base/packed_weight.h"

namespace gptq {

bool PackedWeight::SequentialGroups() const {
  for (int64_t c = 0; c < columns; ++c) {
    if (group_index[static_cast<size_t>(c)] != c / group_size) return false;
  }
  return true;
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
