// Attention on the device, and the cache of keys and values that it reads.
#pragma once

#include <cstdint>

#include "compute/backend.h"
#include "compute/cuda/runtime.h"
#include "compute/cuda/vector_kernels.h"

namespace gptq::cuda {

// Up to so many keys a query's scores lie in a block's shared memory: few queries go alone, a block for each
// query and head.
inline constexpr int64_t kMostKeysOfFew = 40 * 1024;
inline constexpr int64_t kFewQueries = 4;

// As Backend::Attend. `past`: keys before the first query. `most_keys`: what the launch must be good for,
// where a recorded graph runs later.
void AttendFew(Device& device, const AttentionShape& shape, Position past, int64_t most_keys,
               MatrixView query, const KvRows& keys, const KvRows& values, float* out);

// A token on its way into a cache, as it comes out of the products: what Rotate and StoreKv would do first.
struct NewToken {
  const float* key = nullptr;    // [kv_heads * head_dim]
  const float* value = nullptr;  // [kv_heads * value_width]
  Rotation rotation;             // of query and key; 0 pairs: none
};
// AttendFew of one query, the token's; its key and value are stored, too. Caches of float32 or float16.
void AttendToken(Device& device, const AttentionShape& shape, Position past, int64_t most_keys,
                 MatrixView query, const NewToken& token, const KvRows& keys, const KvRows& values,
                 float* out);

// For many queries: scores of some queries at a time by products of matrices, float16 or float32. Keeps its
// memory.
class ManyQueriesAttention {
 public:
  void Run(Device& device, const AttentionShape& shape, bool half, MatrixView query, const KvRows& keys,
           const KvRows& values, float* out);

 private:
  template <typename Element>
  void RunAs(Device& device, const AttentionShape& shape, MatrixView query, const KvRows& keys,
             const KvRows& values, float* out);
  void* Buffer(Device& device, int which, int64_t bytes);
  Memory buffers_[5];
  int64_t sizes_[5] = {};
};

// rows [count, heads * width] to rows `first` on of a cache: as Backend::StoreKv.
void StoreKv(Device& device, MatrixView rows, int64_t heads, Position first, const KvRows& to);

}  // namespace gptq::cuda
