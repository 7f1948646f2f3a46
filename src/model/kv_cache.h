// Keys and values of the tokens already seen, one sequence.
#pragma once

#include <cstdint>
#include <vector>

#include "compute/backend.h"

namespace gptq {

struct KvCacheLayer {
  Matrix keys, values;  // [capacity, width of all heads], keys after rotary
};

struct KvCache {
  KvCache(int64_t layers, int64_t capacity, int64_t key_width, int64_t value_width);
  int64_t capacity;
  int64_t tokens = 0;  // rows in use
  std::vector<KvCacheLayer> layers;
};

}  // namespace gptq
