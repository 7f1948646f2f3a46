#include "model/kv_cache.h"

namespace gptq {
KvStore::KvStore(DType type, int64_t capacity, int64_t heads, int64_t head_width, DeviceMemory* memory)
    : type_(type), capacity_(capacity), heads_(heads), head_width_(head_width) {
  CHECK(type == DType::kF32 || type == DType::kF16 || type == DType::kI8);
  const int64_t scales = type == DType::kI8 ? capacity : 0;
  if (memory != nullptr) {
    device_rows_ = memory->Allocate(ByteSize(type, heads * capacity * head_width));
    if (scales > 0) device_scales_ = memory->Allocate(ByteSize(DType::kF32, heads * scales));
  } else {
    rows_ = Tensor::Uninitialized(type, {heads, capacity, head_width});
    scales_ = Tensor::Uninitialized(DType::kF32, {heads, scales});
  }
}

void KvStore::Write(Backend& backend, int64_t first, MatrixView rows) {
  CHECK(first + rows.rows <= capacity_ && rows.columns == heads_ * head_width_);
  backend.StoreKv(rows, heads_, first, this->rows());
}

KvRows KvStore::rows() const {
  const std::byte* rows = device_rows_ ? device_rows_.get() : rows_.data();
  const std::byte* scales = device_scales_ ? device_scales_.get() : scales_.data();
  return {type_, rows, type_ == DType::kI8 ? reinterpret_cast<const float*>(scales) : nullptr, capacity_};
}

int64_t KvStore::bytes() const {
  return ByteSize(type_, heads_ * capacity_ * head_width_) +
         (type_ == DType::kI8 ? ByteSize(DType::kF32, heads_ * capacity_) : 0);
}

KvCache::KvCache(const ModelSpec& spec, int64_t rows, DType type, DeviceMemory* memory) : capacity(rows) {
  for (int64_t i = 0; i < spec.layers * spec.loops; ++i) {
    layers.push_back({{type, rows, spec.kv_heads, spec.head_dim, memory},
                      {type, rows, spec.kv_heads, spec.value_dim, memory}});
  }
}

double KvCache::BytesPerToken() const {
  double bytes = 0;
  for (const KvCacheLayer& layer : layers)
    bytes += static_cast<double>(layer.keys.bytes() + layer.values.bytes());
  return bytes / static_cast<double>(capacity);
}

}  // namespace gptq
