// Keys and values of the tokens already seen, one sequence.
#pragma once

#include <cstdint>
#include <vector>

#include "base/tensor.h"
#include "model/stage.h"

namespace gptq {

struct KvCacheLayer {
  Tensor keys, values;  // F32 or F16 [capacity, width of all heads], keys after rotary
};

// And what else decoding it takes: nothing is allocated for a token.
struct KvCache {
  KvCache(int64_t layers, int64_t capacity, int64_t key_width, int64_t value_width, DType type);
  int64_t capacity;
  int64_t tokens = 0;  // rows in use
  std::vector<KvCacheLayer> layers;
  BlockState state;  // of the tokens at hand; its memory is kept from call to call
};

}  // namespace gptq
