// The matrix of a linear layer or an embedding, in whatever form it is stored.
#pragma once

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "base/packed_weight.h"
#include "base/tensor.h"
#include "compute/tiled_weight.h"

namespace gptq {

// [rows, columns] = [outputs, inputs]. Borrowed (a view into a mapped file, which must outlive it) or owned.
// Quantized matrices lie as their kernels want them; of others kernels turn the rows into float32 where they
// need them, so nothing is expanded in memory for longer than one product.
class Weight {
 public:
  Weight() = default;
  // `row_order`, if not empty: row r of the matrix is stored row row_order[r].
  explicit Weight(TensorView view, std::vector<int32_t> row_order = {});
  explicit Weight(Tensor tensor);
  // The transpose of a stored float matrix [columns, rows].
  static Weight Transposed(TensorView view);
  explicit Weight(const PackedWeight& packed, ThreadPool* pool = nullptr);
  explicit Weight(TiledWeight tiled);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  bool empty() const { return rows_ == 0; }

  // Rows [first, first + count) as float32 into `destination` [count, columns].
  void ReadRows(int64_t first, int64_t count, float* destination) const;
  // The whole matrix if it lies in memory as aligned float32, else nullptr.
  const float* FloatData() const;
  // The rows as they lie in memory, [rows, columns], if they are aligned and of this 16-bit type; else
  // nullptr.
  const uint16_t* HalfData(DType dtype) const;
  // As TiledWeight::MoveTo, of a quantized weight.
  void MoveTo(std::shared_ptr<Tensor> memory, int64_t offset);
  // Set if the weight is quantized.
  const TiledWeight* tiled() const { return std::get_if<TiledWeight>(&storage_); }
  // Re-lays a view of GGUF blocks that the kernels of quantized weights can read, so that it is needed no
  // more; else nothing happens and the result is false.
  bool Tile(ThreadPool& pool);
  // What a product reads of memory.
  int64_t bytes() const;
  // What a backend keeps of this weight; empty at first.
  std::shared_ptr<const void>& resident() const { return resident_; }

 private:
  const TensorView* view() const;
  bool InPlace(DType dtype) const;
  void ReadTransposed(const TensorView& stored, int64_t first, int64_t count, float* destination) const;

  std::variant<TensorView, Tensor, TiledWeight> storage_;
  TensorView owned_view_;  // of the owned Tensor
  std::vector<int32_t> row_order_;
  bool transposed_ = false;
  int64_t rows_ = 0;
  int64_t columns_ = 0;
  mutable std::shared_ptr<const void> resident_;
};

}  // namespace gptq
