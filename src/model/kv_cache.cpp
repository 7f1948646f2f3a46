#include "model/kv_cache.h"

namespace gptq {

KvCache::KvCache(int64_t layer_count, int64_t rows, int64_t kv_width) : capacity(rows) {
  for (int64_t i = 0; i < layer_count; ++i)
    layers.push_back({Matrix(rows, kv_width), Matrix(rows, kv_width)});
}

}  // namespace gptq
