#include "compute/cpu/received_attention.h"

#include <algorithm>
#include <vector>

#include "compute/blas.h"

namespace gptq {
namespace {

constexpr int64_t kQueryTile = 64;

// One head of one sequence; pointers are to the head's first column.
void AddHead(const AttentionShape& shape, const VectorKernels& kernels, const float* query,
             int64_t query_stride, const float* keys, int64_t key_stride, const float* key_bias,
             float* scores, double* received) {
  for (int64_t first = 0; first < shape.query_tokens; first += kQueryTile) {
    const int64_t rows = std::min(kQueryTile, shape.query_tokens - first);
    const int64_t visible = shape.EndKey(first + rows - 1);
    blas::Gemm(false, true, rows, visible, shape.head_dim, shape.scale, query + first * query_stride,
               query_stride, keys, key_stride, 0.0f, scores, shape.key_tokens);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t begin = shape.FirstKey(first + r), seen = shape.EndKey(first + r) - begin;
      float* row = scores + r * shape.key_tokens + begin;
      if (shape.softcap != 0) kernels.softcap(row, shape.softcap, seen);
      if (key_bias != nullptr) kernels.add(row, key_bias + begin, seen);
      const float sum = kernels.exp_sum(row, kernels.maximum(row, seen), seen);
      for (int64_t k = 0; k < seen; ++k) received[begin + k] += static_cast<double>(row[k] / sum);
    }
  }
}

}  // namespace

void SumReceivedAttention(const AttentionShape& shape, const VectorKernels& kernels, ThreadPool& pool,
                          MatrixView query, const float* keys, std::span<float> received) {
  CHECK(shape.query_tokens == shape.key_tokens && shape.key_stride == shape.key_tokens);
  CHECK(static_cast<int64_t>(received.size()) == shape.sequences * shape.key_tokens);
  const int64_t key_width = shape.kv_heads * shape.head_dim, tokens = shape.key_tokens;
  // Threads share a sequence by its heads, so that a single sequence keeps all of them busy.
  std::vector<double> sums(static_cast<size_t>(shape.sequences * shape.heads * tokens));
  pool.ParallelFor(shape.sequences * shape.heads, [&](int64_t task) {
    const int64_t sequence = task / shape.heads, head = task % shape.heads;
    std::vector<float> scores(static_cast<size_t>(std::min(kQueryTile, tokens) * tokens));
    AddHead(shape, kernels, query.data + sequence * tokens * query.columns + head * shape.head_dim,
            query.columns,
            keys + sequence * tokens * key_width + head / (shape.heads / shape.kv_heads) * shape.head_dim,
            key_width, shape.key_bias == nullptr ? nullptr : shape.key_bias + head * shape.key_bias_stride,
            scores.data(), sums.data() + task * tokens);
  });
  for (int64_t s = 0; s < shape.sequences; ++s) {
    for (int64_t k = 0; k < tokens; ++k) {
      double sum = 0;
      for (int64_t h = 0; h < shape.heads; ++h) sum += sums[(s * shape.heads + h) * tokens + k];
      received[s * tokens + k] = static_cast<float>(sum);
    }
  }
}

}  // namespace gptq
