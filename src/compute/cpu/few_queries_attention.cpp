#include "compute/cpu/few_queries_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/integer.h"

namespace gptq {
namespace {

constexpr int64_t kPieceKeys = 128;

// Keys go by pieces, a piece for all heads that share it at once; what a query makes of a piece is put
// together in the pieces' order.
class FewQueriesAttention {
 public:
  FewQueriesAttention(const AttentionShape& shape, const VectorKernels& kernels, MatrixView query,
                      const KvRows& keys, const KvRows& values, MatrixView out)
      : shape_(shape),
        kernels_(kernels),
        query_(query),
        keys_(keys),
        values_(values),
        out_(out),
        sharing_(shape.heads / shape.kv_heads),
        past_(shape.key_tokens - shape.query_tokens),
        first_piece_(shape.FirstKey(past_) / kPieceKeys),
        pieces_(CeilDivide(shape.key_tokens, kPieceKeys) - first_piece_),
        width_(2 + shape.value_width()) {}

  void Run(ThreadPool& pool, ThreadScratch& scratch) {
    partial_ = scratch.Shared(query_.rows * shape_.heads * pieces_ * width_);
    pool.ParallelFor(shape_.sequences * shape_.kv_heads * pieces_, [&](int64_t task, int thread) {
      const int64_t piece = task % pieces_, kv_head = task / pieces_ % shape_.kv_heads;
      RunPiece(task / pieces_ / shape_.kv_heads, kv_head, piece, scratch.Get(thread, sharing_ * kPieceKeys));
    });
    for (int64_t row = 0; row < query_.rows; ++row) {
      for (int64_t head = 0; head < shape_.heads; ++head) Join(row, head);
    }
  }

 private:
  // Maximum of the scores, sum of their powers, sum of the values.
  float* Partial(int64_t row, int64_t head, int64_t piece) const {
    return partial_ + ((row * shape_.heads + head) * pieces_ + piece) * width_;
  }

  void RunPiece(int64_t sequence, int64_t kv_head, int64_t piece, float* scores) const {
    const int64_t piece_key = (first_piece_ + piece) * kPieceKeys;
    for (int64_t t = 0; t < shape_.query_tokens; ++t) {
      const int64_t first = std::max(piece_key, shape_.FirstKey(past_ + t));
      const int64_t end = std::min({piece_key + kPieceKeys, shape_.EndKey(past_ + t), shape_.key_tokens});
      const int64_t row = sequence * shape_.query_tokens + t;
      float* const partial = Partial(row, kv_head * sharing_, piece);
      if (first < end) {
        AttendKeys(row, sequence, kv_head, first, end - first, scores, partial);
      } else {
        for (int64_t i = 0; i < sharing_; ++i)
          partial[i * pieces_ * width_] = -std::numeric_limits<float>::infinity();
      }
    }
  }

  // The heads of one head of keys, `count` keys of the sequence from `first`.
  void AttendKeys(int64_t row, int64_t sequence, int64_t kv_head, int64_t first, int64_t count, float* scores,
                  float* partial) const {
    const int64_t key = sequence * shape_.key_stride + first, first_head = kv_head * sharing_;
    const KvRows keys = keys_.From(key, kv_head, shape_.kv_heads, shape_.head_dim);
    const KvRows values = values_.From(key, kv_head, shape_.kv_heads, shape_.value_width());
    kernels_.rows(keys.type).score(
        query_.data + row * query_.columns + first_head * shape_.head_dim, sharing_,
        {keys.data, keys.Stride(shape_.kv_heads, shape_.head_dim), count, shape_.head_dim}, shape_.scale,
        scores, kPieceKeys);
    for (int64_t i = 0; i < sharing_; ++i)
      TakePowers(keys, values, first_head + i, first, count, scores + i * kPieceKeys,
                 partial + i * pieces_ * width_);
    kernels_.rows(values.type)
        .sum(scores, kPieceKeys, sharing_,
             {values.data, values.Stride(shape_.kv_heads, shape_.value_width()), count, shape_.value_width()},
             partial + 2, pieces_ * width_);
  }

  // One head's scores become what its values are multiplied with.
  void TakePowers(const KvRows& keys, const KvRows& values, int64_t head, int64_t first, int64_t count,
                  float* scores, float* partial) const {
    if (keys.scales != nullptr) kernels_.multiply(scores, keys.scales, count);
    if (shape_.softcap != 0) kernels_.softcap(scores, shape_.softcap, count);
    if (shape_.key_bias != nullptr)
      kernels_.add(scores, shape_.key_bias + head * shape_.key_bias_stride + first, count);
    partial[0] = kernels_.maximum(scores, count);
    partial[1] = kernels_.exp_sum(scores, partial[0], count);
    if (values.scales != nullptr) kernels_.multiply(scores, values.scales, count);
  }

  void Join(int64_t row, int64_t head) const {
    float* const out = out_.data + row * out_.columns + head * shape_.value_width();
    float maximum = -std::numeric_limits<float>::infinity(), sum = 0;
    for (int64_t piece = 0; piece < pieces_; ++piece)
      maximum = std::max(maximum, Partial(row, head, piece)[0]);
    std::fill_n(out, shape_.value_width(), 0.0f);
    for (int64_t piece = 0; piece < pieces_; ++piece) {
      const float* partial = Partial(row, head, piece);
      if (partial[0] == -std::numeric_limits<float>::infinity()) continue;  // none of its keys is seen
      const float factor = std::exp(partial[0] - maximum);
      sum += factor * partial[1];
      kernels_.add_scaled(out, factor, partial + 2, shape_.value_width());
    }
    kernels_.scale(out, 1.0f / sum, shape_.value_width());
  }

  const AttentionShape& shape_;
  const VectorKernels& kernels_;
  const MatrixView query_;
  const KvRows &keys_, &values_;
  const MatrixView out_;
  const int64_t sharing_;               // heads that share one head of keys
  const int64_t past_;                  // keys before the first query
  const int64_t first_piece_, pieces_;  // of those that some query sees
  const int64_t width_;                 // of a partial result
  float* partial_ = nullptr;            // [query rows, heads, pieces, width_]
};

}  // namespace

void AttendFewQueries(const AttentionShape& shape, const VectorKernels& kernels, ThreadPool& pool,
                      ThreadScratch& scratch, MatrixView query, const KvRows& keys, const KvRows& values,
                      MatrixView out) {
  FewQueriesAttention(shape, kernels, query, keys, values, out).Run(pool, scratch);
}

}  // namespace gptq
