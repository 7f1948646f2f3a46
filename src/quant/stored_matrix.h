// What quantizing a matrix leaves: integer codes with their grids, or ready blocks of a GGUF type.
#pragma once

#include <string_view>
#include <utility>
#include <variant>

#include "base/convert.h"
#include "base/packed_weight.h"
#include "base/tensor.h"
#include "compute/weight.h"
#include "quant/solve_result.h"

namespace gptq {

using StoredMatrix = std::variant<PackedWeight, Tensor>;  // blocks [rows, columns]

// See ToPackedWeight.
inline StoredMatrix ToStoredMatrix(SolveResult result, const SolverOptions& options, std::string_view name) {
  if (options.gguf_type) return std::move(result.blocks);
  return ToPackedWeight(result, options, name);
}

// As the kernels of quantized weights read it.
inline Weight ToWeight(StoredMatrix matrix, ThreadPool& pool) {
  Tensor* blocks = std::get_if<Tensor>(&matrix);
  if (blocks == nullptr) return Weight(std::get<PackedWeight>(matrix), &pool);
  Weight weight(std::move(*blocks));
  weight.Tile(pool);
  return weight;
}

// All values as float32 [rows, columns].
inline Tensor Dequantize(const StoredMatrix& matrix) {
  if (const Tensor* blocks = std::get_if<Tensor>(&matrix)) return ToFloat(blocks->view());
  const auto& packed = std::get<PackedWeight>(matrix);
  Tensor values = Tensor::Uninitialized(DType::kF32, {packed.rows, packed.columns});
  DequantizeRows(packed, 0, packed.rows, values.As<float>().data());
  return values;
}

}  // namespace gptq
