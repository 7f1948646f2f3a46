#include <algorithm>

#include "base/error.h"
#include "compute/cuda/attention.h"
#include "compute/cuda/kernel.cuh"
#include "compute/cuda/rotation.cuh"

namespace gptq::cuda {
namespace {

// Keys or values as attention reads them, for kernels.
struct Rows {
  const std::byte* data;
  const float* scales;
  int64_t row_stride, head_stride;  // elements
  int64_t scale_stride;             // of a head's scales
};

Rows RowsOf(const KvRows& rows, int64_t heads, int64_t width) {
  if (rows.head_rows == 0) return {rows.data, nullptr, heads * width, width, 0};
  return {rows.data, rows.scales, width, rows.head_rows * width, rows.head_rows};
}

template <typename Element>
__device__ float Value(const Rows& rows, int64_t head, int64_t row, int64_t dimension);

template <>
__device__ inline float Value<float>(const Rows& rows, int64_t head, int64_t row, int64_t d) {
  return reinterpret_cast<const float*>(rows.data)[head * rows.head_stride + row * rows.row_stride + d];
}
template <>
__device__ inline float Value<Half>(const Rows& rows, int64_t head, int64_t row, int64_t d) {
  return ToFloat(
      reinterpret_cast<const Half*>(rows.data)[head * rows.head_stride + row * rows.row_stride + d]);
}
template <>
__device__ inline float Value<int8_t>(const Rows& rows, int64_t head, int64_t row, int64_t d) {
  return static_cast<float>(reinterpret_cast<const int8_t*>(
             rows.data)[head * rows.head_stride + row * rows.row_stride + d]) *
         rows.scales[head * rows.scale_stride + row];
}

__device__ inline void Store(Half* to, float value) { *to = ToHalf(value); }
__device__ inline void Store(float* to, float value) { *to = value; }

// What masks a score and changes it, of AttentionShape.
struct Mask {
  int64_t window;
  bool causal;
  float softcap;
  const float* key_bias;
  int64_t key_bias_stride;

  __device__ int64_t FirstKey(int64_t position) const {
    return window > 0 && position >= window ? position + 1 - window : 0;
  }
  __device__ int64_t EndKey(int64_t position, int64_t keys) const { return causal ? position + 1 : keys; }
  __device__ float Change(float score, int64_t head, int64_t key) const {
    if (softcap != 0) score = softcap * tanhf(score / softcap);
    return key_bias != nullptr ? score + key_bias[head * key_bias_stride + key] : score;
  }
};

Mask MaskOf(const AttentionShape& shape) {
  return {shape.window, shape.causal, shape.softcap, shape.key_bias, shape.key_bias_stride};
}

struct FewShape {
  int64_t query_tokens, key_tokens, key_stride;
  int64_t heads, kv_heads, head_dim, value_dim;
  float scale;
};

// The value of x once it is stored.
__device__ inline float Stored(float, float x) { return x; }
__device__ inline float Stored(Half, float x) { return ToFloat(ToHalf(x)); }
__device__ inline float Stored(int8_t, float x) { return x; }  // never asked for

// A row of all heads at a head's first dimension in a cache.
template <typename Element>
__device__ void StoreHead(const Rows& rows, int64_t head, int64_t row, const float* values, int64_t width) {
  Element* const to = reinterpret_cast<Element*>(const_cast<std::byte*>(rows.data)) +
                      head * rows.head_stride + row * rows.row_stride;
  if constexpr (sizeof(Element) > 1) {
    for (int64_t d = threadIdx.x; d < width; d += blockDim.x) Store(to + d, values[d]);
  }
}

// A block for each head (x) and query (y). Shared: the query, the new token's key and value, a partial output
// of each thread, the scores. kToken: the query is the token's, whose key and value are not yet stored.
template <typename Element, bool kToken>
__global__ void AttendOne(FewShape shape, Mask mask, Position past, const float* query, NewToken token,
                          Rows keys, Rows values, float* out) {
  __shared__ float reduced[32];
  WaitForPrevious();
  LetNextBegin();
  float* const q = SharedMemory<float>();
  float* const new_key = q + shape.head_dim;
  float* const new_value = new_key + (kToken ? shape.head_dim : 0);
  float* const partial = new_value + (kToken ? shape.value_dim : 0);
  float* const scores = partial + blockDim.x;
  const int64_t head = blockIdx.x, row = blockIdx.y, share = shape.heads / shape.kv_heads,
                kv_head = head / share;
  const int64_t sequence = row / shape.query_tokens;
  const int64_t moved = Moved(past);
  const int64_t position = past.base + moved + row % shape.query_tokens;
  const int64_t first = mask.FirstKey(position), end = mask.EndKey(position, shape.key_tokens + moved);
  const int64_t base = sequence * shape.key_stride;
  for (int64_t d = threadIdx.x; d < shape.head_dim; d += blockDim.x) {
    q[d] = query[(row * shape.heads + head) * shape.head_dim + d];
    if (kToken) new_key[d] = token.key[kv_head * shape.head_dim + d];
  }
  __syncthreads();
  if (kToken) {
    for (int64_t i = threadIdx.x; i < 2 * token.rotation.pairs; i += blockDim.x)
      RotatePair(token.rotation, 0, i / 2, i % 2 == 0 ? q : new_key);
    __syncthreads();
    for (int64_t d = threadIdx.x; d < shape.head_dim; d += blockDim.x)
      new_key[d] = Stored(Element{}, new_key[d]);
    for (int64_t d = threadIdx.x; d < shape.value_dim; d += blockDim.x)
      new_value[d] = Stored(Element{}, token.value[kv_head * shape.value_dim + d]);
    __syncthreads();
    if (head % share == 0) {
      StoreHead<Element>(keys, kv_head, position, new_key, shape.head_dim);
      StoreHead<Element>(values, kv_head, position, new_value, shape.value_dim);
    }
  }
  const int64_t stored = kToken ? position : end;  // keys that are in the cache

  const int lane = static_cast<int>(threadIdx.x) % 32, warps = static_cast<int>(blockDim.x) / 32;
  constexpr int kTogether = 4;
  float maximum = -INFINITY;
  for (int64_t key = first + threadIdx.x / 32 * kTogether; key < end; key += warps * kTogether) {
    float sums[kTogether] = {};
    for (int64_t d = lane; d < shape.head_dim; d += 32) {
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        if (key + i < stored) {
          sums[i] += q[d] * Value<Element>(keys, kv_head, base + key + i, d);
        } else if (kToken && key + i == stored) {
          sums[i] += q[d] * new_key[d];
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const float score = mask.Change(WarpSum(sums[i]) * shape.scale, head, key + i < end ? key + i : first);
      if (key + i >= end) continue;
      if (lane == 0) scores[key + i - first] = score;
      maximum = fmaxf(maximum, score);
    }
  }
  maximum = BlockMaximum(maximum, reduced);
  __syncthreads();
  float sum = 0;
  for (int64_t i = threadIdx.x; i < end - first; i += blockDim.x)
    sum += scores[i] = expf(scores[i] - maximum);
  sum = BlockSum(sum, reduced);
  __syncthreads();

  // Threads share the dimensions, and if there are more threads than these the keys, too.
  const int64_t width = shape.value_dim, parts = width < blockDim.x ? blockDim.x / width : 1;
  float* const to = out + (row * shape.heads + head) * width;
  for (int64_t d0 = 0; d0 < width; d0 += blockDim.x) {
    const int64_t d = d0 + threadIdx.x % (parts > 1 ? width : blockDim.x);
    const int64_t part = parts > 1 ? threadIdx.x / width : 0;
    float total = 0;
    if (part < parts && d < width) {
      for (int64_t i = first + part; i < stored; i += parts)
        total += scores[i - first] * Value<Element>(values, kv_head, base + i, d);
      if (kToken && part == 0) total += scores[stored - first] * new_value[d];
    }
    partial[threadIdx.x] = total;
    __syncthreads();
    if (part == 0 && d < width) {
      for (int64_t p = 1; p < parts; ++p) total += partial[p * width + d];
      to[d] = total / sum;
    }
    __syncthreads();
  }
}

template <typename Element, typename To>
__global__ void ConvertRows(Rows from, int64_t first, int64_t heads, int64_t width, int64_t rows, To* to) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= rows * heads * width) return;
  const int64_t row = index / (heads * width), head = index / width % heads;
  Store(to + index, Value<Element>(from, head, first + row, index % width));
}

// Scores [heads, queries, keys] become weights in the same places; they may be the same memory.
template <typename Element>
__global__ void SoftmaxRows(const float* scores, Element* weights, int64_t keys, Mask mask,
                            int64_t first_position, int64_t first_head, int64_t head_step) {
  __shared__ float shared[32];
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = (static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * keys;
  const int64_t head = first_head + blockIdx.y * head_step, position = first_position + blockIdx.x;
  const int64_t first = mask.FirstKey(position), end = mask.EndKey(position, keys);
  float maximum = -INFINITY;
  for (int64_t key = first + threadIdx.x; key < end; key += blockDim.x)
    maximum = fmaxf(maximum, mask.Change(scores[row + key], head, key));
  maximum = BlockMaximum(maximum, shared);
  float sum = 0;
  for (int64_t key = first + threadIdx.x; key < end; key += blockDim.x)
    sum += expf(mask.Change(scores[row + key], head, key) - maximum);
  const float factor = 1.0f / BlockSum(sum, shared);
  for (int64_t key = threadIdx.x; key < keys; key += blockDim.x) {
    const bool seen = key >= first && key < end;
    Store(weights + row + key,
          seen ? expf(mask.Change(scores[row + key], head, key) - maximum) * factor : 0.0f);
  }
}

__global__ void StoreRows(const float* rows, int64_t heads, int64_t width, Position first, std::byte* data,
                          float* scales, int64_t head_rows, int type) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t head = blockIdx.x, row = blockIdx.y;
  const int64_t moved = Moved(first);
  const int64_t place = head * head_rows + first.base + moved + row;
  const float* const from = rows + (row * heads + head) * width;
  const int lane = static_cast<int>(threadIdx.x);
  if (type == 2) {
    float greatest = 0;
    for (int64_t d = lane; d < width; d += 32) greatest = fmaxf(greatest, fabsf(from[d]));
    greatest = WarpMaximum(greatest);
    const float factor = greatest > 1e-30f ? 127.0f / greatest : 0.0f;
    for (int64_t d = lane; d < width; d += 32)
      reinterpret_cast<int8_t*>(data)[place * width + d] =
          static_cast<int8_t>(__float2int_rn(from[d] * factor));
    if (lane == 0) scales[place] = greatest / 127.0f;
    return;
  }
  for (int64_t d = lane; d < width; d += 32) {
    if (type == 1) {
      reinterpret_cast<Half*>(data)[place * width + d] = ToHalf(from[d]);
    } else {
      reinterpret_cast<float*>(data)[place * width + d] = from[d];
    }
  }
}

// body(an element of this type)
template <typename Body>
void WithElement(DType type, const Body& body) {
  switch (type) {
    case DType::kF32:
      return body(float{});
    case DType::kF16:
      return body(Half{});
    default:
      CHECK(type == DType::kI8);
      return body(int8_t{});
  }
}

}  // namespace

namespace {

FewShape FewShapeOf(const AttentionShape& shape) {
  return {shape.query_tokens, shape.key_tokens, shape.key_stride,    shape.heads,
          shape.kv_heads,     shape.head_dim,   shape.value_width(), shape.scale};
}

constexpr int kFewThreads = 256;

}  // namespace

void AttendFew(Device& device, const AttentionShape& shape, Position past, int64_t most_keys,
               MatrixView query, const KvRows& keys, const KvRows& values, float* out) {
  CHECK(most_keys <= kMostKeysOfFew && keys.type == values.type);
  const int64_t shared = (shape.head_dim + kFewThreads + most_keys) * 4;
  WithElement(keys.type, [&](auto element) {
    GPTQ_LAUNCH(device, (AttendOne<decltype(element), false>),
                (Geometry{shape.heads, query.rows, 1, kFewThreads, shared}), FewShapeOf(shape), MaskOf(shape),
                past, query.data, NewToken{}, RowsOf(keys, shape.kv_heads, shape.head_dim),
                RowsOf(values, shape.kv_heads, shape.value_width()), out);
  });
}

void AttendToken(Device& device, const AttentionShape& shape, Position past, int64_t most_keys,
                 MatrixView query, const NewToken& token, const KvRows& keys, const KvRows& values,
                 float* out) {
  CHECK(most_keys <= kMostKeysOfFew && keys.type == values.type && query.rows == 1 && shape.causal);
  const int64_t shared = (2 * shape.head_dim + shape.value_width() + kFewThreads + most_keys) * 4;
  const Geometry geometry{shape.heads, 1, 1, kFewThreads, shared};
  const auto launch = [&](auto kernel) {
    GPTQ_LAUNCH(device, kernel, geometry, FewShapeOf(shape), MaskOf(shape), past, query.data, token,
                RowsOf(keys, shape.kv_heads, shape.head_dim),
                RowsOf(values, shape.kv_heads, shape.value_width()), out);
  };
  if (keys.type == DType::kF16) return launch(AttendOne<Half, true>);
  CHECK(keys.type == DType::kF32);
  launch(AttendOne<float, true>);
}

void* ManyQueriesAttention::Buffer(Device& device, int which, int64_t bytes) {
  if (bytes > sizes_[which]) {
    buffers_[which].reset();
    buffers_[which] = device.Allocate(bytes);
    sizes_[which] = bytes;
  }
  return buffers_[which].get();
}

namespace {

void Multiply(Device& device, Half, int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a,
              Operand b, bool b_plain, Operand c, int64_t batch) {
  device.HalfProduct(rows, columns, depth, alpha, a, b, b_plain, 0, c, batch);
}
void Multiply(Device& device, float, int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a,
              Operand b, bool b_plain, Operand c, int64_t batch) {
  device.FloatProduct(rows, columns, depth, alpha, a, b, b_plain, 0, c, batch);
}

}  // namespace

template <typename Element>
void ManyQueriesAttention::RunAs(Device& device, const AttentionShape& shape, MatrixView query,
                                 const KvRows& keys, const KvRows& values, float* out) {
  enum { kQueries, kKeys, kValues, kScores, kWeights };
  constexpr auto kBytes = static_cast<int64_t>(sizeof(Element));
  const int64_t width = shape.value_width(), share = shape.heads / shape.kv_heads;
  const int64_t past = shape.key_tokens - shape.query_tokens;
  constexpr int64_t kScoreBytes = int64_t{256} << 20;
  const int64_t queries_at_once =
      std::clamp<int64_t>(kScoreBytes / 4 / (shape.kv_heads * shape.key_tokens), 1, shape.query_tokens);
  const int64_t most_scores = shape.kv_heads * queries_at_once * shape.key_tokens;
  const auto buffer = [&](int which, int64_t elements) {
    return reinterpret_cast<Element*>(Buffer(device, which, elements * kBytes));
  };
  Element* const q = buffer(kQueries, shape.query_tokens * shape.heads * shape.head_dim);
  Element* const k = buffer(kKeys, shape.key_tokens * shape.kv_heads * shape.head_dim);
  Element* const v = buffer(kValues, shape.key_tokens * shape.kv_heads * width);
  auto* const scores = static_cast<float*>(Buffer(device, kScores, most_scores * 4));
  Element* const weights = buffer(kWeights, most_scores);
  const auto convert = [&](const KvRows& rows, int64_t first, int64_t heads, int64_t head_width,
                           int64_t count, Element* to) {
    WithElement(rows.type, [&](auto element) {
      GPTQ_LAUNCH(device, (ConvertRows<decltype(element), Element>),
                  Geometry{CeilDivide(count * heads * head_width, 256)}, RowsOf(rows, heads, head_width),
                  first, heads, head_width, count, to);
    });
  };
  for (int64_t s = 0; s < shape.sequences; ++s) {
    const int64_t query_row = s * shape.query_tokens;
    convert(KvRows(query.data), query_row, shape.heads, shape.head_dim, shape.query_tokens, q);
    convert(keys, s * shape.key_stride, shape.kv_heads, shape.head_dim, shape.key_tokens, k);
    convert(values, s * shape.key_stride, shape.kv_heads, width, shape.key_tokens, v);
    for (int64_t first = 0; first < shape.query_tokens; first += queries_at_once) {
      const int64_t count = std::min(queries_at_once, shape.query_tokens - first);
      // Keys that any of them sees.
      const int64_t seen = shape.causal ? past + first + count : shape.key_tokens;
      for (int64_t j = 0; j < share; ++j) {  // head `share * i + j` for every head i of the keys
        Multiply(device, Element{}, count, seen, shape.head_dim, shape.scale,
                 {q + (first * shape.heads + j) * shape.head_dim, shape.heads * shape.head_dim,
                  share * shape.head_dim},
                 {k, shape.kv_heads * shape.head_dim, shape.head_dim}, false, {scores, seen, count * seen},
                 shape.kv_heads);
        GPTQ_LAUNCH(device, SoftmaxRows<Element>,
                    (Geometry{count, shape.kv_heads, 1, seen >= 1024 ? 256 : 128}), scores, weights, seen,
                    MaskOf(shape), past + first, j, share);
        Multiply(device, Element{}, count, width, seen, 1, {weights, seen, count * seen},
                 {v, shape.kv_heads * width, width}, true,
                 {out + ((query_row + first) * shape.heads + j) * width, shape.heads * width, share * width},
                 shape.kv_heads);
      }
    }
  }
}

void ManyQueriesAttention::Run(Device& device, const AttentionShape& shape, bool half, MatrixView query,
                               const KvRows& keys, const KvRows& values, float* out) {
  if (half) {
    RunAs<Half>(device, shape, query, keys, values, out);
  } else {
    RunAs<float>(device, shape, query, keys, values, out);
  }
}

void StoreKv(Device& device, MatrixView rows, int64_t heads, Position first, const KvRows& to) {
  const int type = to.type == DType::kF32 ? 0 : to.type == DType::kF16 ? 1 : 2;
  for (int64_t row = 0; row < rows.rows; row += 65535) {
    Position from = first;
    from.base += row;
    GPTQ_LAUNCH(device, StoreRows, (Geometry{heads, std::min<int64_t>(65535, rows.rows - row), 1, 32}),
                rows.data + row * rows.columns, heads, rows.columns / heads, from,
                const_cast<std::byte*>(to.data), const_cast<float*>(to.scales), to.head_rows, type);
  }
}

}  // namespace gptq::cuda
