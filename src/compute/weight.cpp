#include "compute/weight.h"

#include "base/convert.h"

namespace gptq {

Weight::Weight(TensorView view, std::vector<int32_t> row_order)
    : storage_(view), row_order_(std::move(row_order)), rows_(view.rows()), columns_(view.row_elements()) {
  CHECK(row_order_.empty() || static_cast<int64_t>(row_order_.size()) == rows_);
  for (const int32_t row : row_order_) CHECK(row >= 0 && row < rows_);
}

Weight::Weight(Tensor tensor) : storage_(std::move(tensor)) {
  owned_view_ = std::get<Tensor>(storage_).view();  // the memory does not move with the owner
  rows_ = owned_view_.rows();
  columns_ = owned_view_.row_elements();
}

Weight::Weight(const PackedWeight& packed, ThreadPool* pool) : Weight(TiledWeight(packed, pool)) {}

Weight::Weight(TiledWeight tiled) : storage_(std::move(tiled)) {
  rows_ = std::get<TiledWeight>(storage_).rows();
  columns_ = std::get<TiledWeight>(storage_).columns();
}

bool Weight::Tile(ThreadPool& pool) {
  const TensorView* stored = view();
  if (stored == nullptr || transposed_) return false;
  std::optional<TiledWeight> tiled = TiledWeight::FromBlocks(*stored, row_order_, &pool);
  if (tiled) *this = Weight(std::move(*tiled));
  return this->tiled() != nullptr;
}

void Weight::MoveTo(std::shared_ptr<Tensor> memory, int64_t offset) {
  std::get<TiledWeight>(storage_).MoveTo(std::move(memory), offset);
}

int64_t Weight::bytes() const {
  if (tiled() != nullptr) return tiled()->bytes();
  return empty() ? 0 : view()->bytes();
}

Weight Weight::Transposed(TensorView view) {
  CHECK(IsFloat(view.dtype));
  Weight weight(view);
  std::swap(weight.rows_, weight.columns_);
  weight.transposed_ = true;
  return weight;
}

void Weight::ReadTransposed(const TensorView& stored, int64_t first, int64_t count,
                            float* destination) const {
  std::vector<float> line(static_cast<size_t>(count));  // of one input, all outputs asked for
  for (int64_t column = 0; column < columns_; ++column) {
    ToFloat(stored.dtype, stored.data + ByteSize(stored.dtype, column * rows_ + first), count, line.data());
    for (int64_t r = 0; r < count; ++r) destination[r * columns_ + column] = line[static_cast<size_t>(r)];
  }
}

const TensorView* Weight::view() const {
  if (std::holds_alternative<Tensor>(storage_)) return &owned_view_;
  return std::get_if<TensorView>(&storage_);
}

void Weight::ReadRows(int64_t first, int64_t count, float* destination) const {
  CHECK(first >= 0 && count >= 0 && first + count <= rows_);
  if (tiled() != nullptr) return tiled()->ReadRows(first, count, destination);
  const TensorView& stored = *view();
  if (transposed_) return ReadTransposed(stored, first, count, destination);
  const int64_t row_bytes = ByteSize(stored.dtype, columns_);
  if (row_order_.empty()) {
    ToFloat(stored.dtype, stored.data + first * row_bytes, count * columns_, destination);
    return;
  }
  for (int64_t r = 0; r < count; ++r) {
    const int64_t source = row_order_[static_cast<size_t>(first + r)];
    ToFloat(stored.dtype, stored.data + source * row_bytes, columns_, destination + r * columns_);
  }
}

bool Weight::InPlace(DType dtype) const {
  return view() != nullptr && view()->dtype == dtype && row_order_.empty() && !transposed_;
}

const float* Weight::FloatData() const {
  if (!InPlace(DType::kF32) || !view()->Aligned<float>()) return nullptr;
  return reinterpret_cast<const float*>(view()->data);
}

const uint16_t* Weight::HalfData(DType dtype) const {
  if (!InPlace(dtype) || !view()->Aligned<uint16_t>()) return nullptr;
  return reinterpret_cast<const uint16_t*>(view()->data);
}

}  // namespace gptq
