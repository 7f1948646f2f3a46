// What quantizing a matrix leaves: integer codes with their grids, or ready blocks of a GGUF type.
#pragma once

#include <variant>

#include "base/convert.h"
#include "base/packed_weight.h"
#include "base/tensor.h"

namespace gptq {

using StoredMatrix = std::variant<PackedWeight, Tensor>;  // blocks [rows, columns]

// All values as float32 [rows, columns].
inline Tensor Dequantize(const StoredMatrix& matrix) {
  if (const Tensor* blocks = std::get_if<Tensor>(&matrix)) return ToFloat(blocks->view());
  const auto& packed = std::get<PackedWeight>(matrix);
  Tensor values = Tensor::Uninitialized(DType::kF32, {packed.rows, packed.columns});
  DequantizeRows(packed, 0, packed.rows, values.As<float>().data());
  return values;
}

}  // namespace gptq
