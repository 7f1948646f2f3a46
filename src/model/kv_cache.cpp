#include "model/kv_cache.h"

#include <bit>

#include "base/convert.h"

namespace gptq {
namespace {

// The largest magnitude, or something larger where there is a NaN: as integers, float32 magnitudes are in the
// same order.
float Largest(const float* x, int64_t n) {
  int32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t magnitude = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
    largest = magnitude > largest ? magnitude : largest;
  }
  return std::bit_cast<float>(largest);
}

// Returns the scale: x = scale * bytes, to half of it. Not finite where x is not.
float RoundToBytes(const float* x, int64_t n, int8_t* bytes) {
  const float largest = Largest(x, n);
  const float factor = largest > 1e-30f ? 127.0f / largest : 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    const float shifted = x[i] * factor + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    bytes[i] = static_cast<int8_t>(std::bit_cast<int32_t>(shifted));
  }
  return largest / 127.0f;
}

}  // namespace

KvStore::KvStore(DType type, int64_t capacity, int64_t heads, int64_t head_width)
    : heads_(heads),
      head_width_(head_width),
      rows_(Tensor::Uninitialized(type, {heads, capacity, head_width})),
      scales_(Tensor::Uninitialized(DType::kF32, {heads, type == DType::kI8 ? capacity : 0})) {
  CHECK(type == DType::kF32 || type == DType::kF16 || type == DType::kI8);
}

void KvStore::Write(int64_t first, MatrixView rows) {
  CHECK(first + rows.rows <= capacity() && rows.columns == heads_ * head_width_);
  const DType type = rows_.dtype();
  for (int64_t head = 0; head < heads_; ++head) {
    for (int64_t row = 0; row < rows.rows; ++row) {
      const int64_t place = head * capacity() + first + row;
      const float* from = rows.data + row * rows.columns + head * head_width_;
      std::byte* const to = rows_.data() + ByteSize(type, place * head_width_);
      if (type == DType::kI8) {
        scales_.As<float>()[static_cast<size_t>(place)] =
            RoundToBytes(from, head_width_, reinterpret_cast<int8_t*>(to));
      } else {
        FromFloat(from, head_width_, type, to);
      }
    }
  }
}

KvRows KvStore::rows() const {
  const bool bytes = rows_.dtype() == DType::kI8;
  return {rows_.dtype(), rows_.data(), bytes ? scales_.As<float>().data() : nullptr, capacity()};
}

KvCache::KvCache(const ModelSpec& spec, int64_t rows, DType type) : capacity(rows) {
  for (int64_t i = 0; i < spec.layers * spec.loops; ++i) {
    layers.push_back(
        {{type, rows, spec.kv_heads, spec.head_dim}, {type, rows, spec.kv_heads, spec.value_dim}});
  }
}

double KvCache::BytesPerToken() const {
  double bytes = 0;
  for (const KvCacheLayer& layer : layers)
    bytes += static_cast<double>(layer.keys.bytes() + layer.values.bytes());
  return bytes / static_cast<double>(capacity);
}

}  // namespace gptq
