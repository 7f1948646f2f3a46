// Keys and values of the tokens already seen, one sequence.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/tensor.h"
#include "compute/backend.h"
#include "model/spec.h"
#include "model/stage.h"

namespace gptq {

// The type that keeps keys and values in 8 or 16 bits.
inline DType KvType(int bits) {
  CHECK(bits == 8 || bits == 16);
  return bits == 8 ? DType::kI8 : DType::kF16;
}

// Keys or values of one layer, rounded as they come.
class KvStore {
 public:
  // F32, F16, or I8: bytes with a scale for each token and head. `memory`: a backend's, or null.
  KvStore(DType type, int64_t capacity, int64_t heads, int64_t head_width, DeviceMemory* memory = nullptr);
  // Rows [first, first + rows.rows), each of all heads.
  void Write(Backend& backend, int64_t first, MatrixView rows);
  KvRows rows() const;
  int64_t capacity() const { return capacity_; }
  int64_t bytes() const;

 private:
  DType type_;
  int64_t capacity_, heads_, head_width_;
  Tensor rows_;    // [heads, capacity, head_width]: attention reads head by head
  Tensor scales_;  // F32 [heads, capacity], of I8 only
  std::shared_ptr<std::byte> device_rows_, device_scales_;  // instead of them
};

struct KvCacheLayer {
  KvStore keys, values;  // keys after rotary
};

// And what else decoding it takes: nothing is allocated for a token.
struct KvCache {
  KvCache(const ModelSpec& spec, int64_t capacity, DType type, DeviceMemory* memory = nullptr);
  double BytesPerToken() const;  // of all layers

  int64_t capacity;
  int64_t tokens = 0;  // rows in use
  std::vector<KvCacheLayer> layers;
  StepRecord step;   // of one token
  BlockState state;  // of the tokens at hand; its memory is kept from call to call
};

}  // namespace gptq
