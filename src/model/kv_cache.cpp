#include "model/kv_cache.h"

namespace gptq {

KvCache::KvCache(int64_t layer_count, int64_t rows, int64_t key_width, int64_t value_width) : capacity(rows) {
  for (int64_t i = 0; i < layer_count; ++i)
    layers.push_back({Matrix(rows, key_width), Matrix(rows, value_width)});
}

}  // namespace gptq
