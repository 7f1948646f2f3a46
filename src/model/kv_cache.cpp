#include "model/kv_cache.h"

namespace gptq {

KvCache::KvCache(int64_t layer_count, int64_t rows, int64_t key_width, int64_t value_width, DType type)
    : capacity(rows) {
  CHECK(type == DType::kF32 || type == DType::kF16);
  for (int64_t i = 0; i < layer_count; ++i) {
    layers.push_back(
        {Tensor::Uninitialized(type, {rows, key_width}), Tensor::Uninitialized(type, {rows, value_width})});
  }
}

}  // namespace gptq
