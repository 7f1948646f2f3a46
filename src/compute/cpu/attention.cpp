#include "compute/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/convert.h"
#include "base/integer.h"
#include "compute/cpu/few_queries_attention.h"

namespace gptq {
namespace {

constexpr int64_t kFewQueries = 4;      // up to here each query goes alone
constexpr int64_t kQueryColumns = 288;  // at most, in one tile; a multiple of every register tile's width
constexpr float kLog2E = 1.44269504088896341f;
constexpr int64_t kKeyTile = 120;  // a multiple of every register tile's height

// Queries [first, first + rows) of one sequence, of `heads` heads that share keys and values. Pointers are to
// the first head's first column.
struct Tile {
  int64_t first, rows, heads;
  KvRows keys, values;
  const float* query;
  float* out;
  int64_t query_stride, out_stride;  // elements between rows
  const float* key_bias;             // of the first head
};

// Queries lie in panels as wide as a register tile, and everything about a query in its column: a block of
// keys gives scores [keys, width] = keys queriesᵀ, the running softmax goes down the columns, and the sums of
// values are outᵀ [head_dim, width].
class TileAttention {
 public:
  static int64_t ScratchElements(const AttentionShape& shape, const ProductKernels& product) {
    const int64_t dims = shape.head_dim + product.PaddedLeft(shape.value_width());
    return (kQueryColumns + kKeyTile) * dims + kKeyTile * (product.right_width + dims) + 3 * kQueryColumns;
  }

  TileAttention(const AttentionShape& shape, const VectorKernels& kernels, const Tile& tile, float* scratch)
      : shape_(shape),
        kernels_(kernels),
        product_(kernels.product),
        tile_(tile),
        width_(product_.right_width),
        padded_rows_(product_.PaddedRight(tile.rows)),
        padded_dim_(product_.PaddedLeft(shape.value_width())),
        past_(shape.key_tokens - shape.query_tokens) {
    CHECK(padded_rows_ * tile.heads <= kQueryColumns);
    float* next = scratch;
    for (auto [buffer, elements] : {std::pair{&query_, kQueryColumns * shape.head_dim},
                                    {&sums_, kQueryColumns * padded_dim_},
                                    {&keys_, kKeyTile * shape.head_dim},
                                    {&values_, kKeyTile * padded_dim_},
                                    {&scores_, kKeyTile * width_},
                                    {&widened_, kKeyTile * std::max(shape.head_dim, shape.value_width())},
                                    {&maximum_, kQueryColumns},
                                    {&weight_, kQueryColumns},
                                    {&correction_, kQueryColumns}}) {
      *buffer = next;
      next += elements;
    }
  }

  void Run() {
    const int64_t columns = padded_rows_ * tile_.heads;
    for (int64_t head = 0; head < tile_.heads; ++head) {
      product_.pack_right_lines(tile_.query + head * shape_.head_dim, tile_.query_stride, tile_.rows,
                                shape_.head_dim, query_ + head * padded_rows_ * shape_.head_dim);
    }
    kernels_.scale(query_, shape_.scale * kLog2E, columns * shape_.head_dim);
    std::fill_n(maximum_, columns, -std::numeric_limits<float>::infinity());
    std::fill_n(weight_, columns, 0.0f);
    const int64_t visible = shape_.EndKey(past_ + tile_.first + tile_.rows - 1);  // by the last query
    for (int64_t key = shape_.FirstKey(past_ + tile_.first); key < visible; key += kKeyTile) {
      const int64_t keys = std::min(kKeyTile, visible - key);
      PackKeys(key, keys);
      PackValues(key, keys);
      for (int64_t column = 0; column < columns; column += width_) AddKeys(column, key, keys);
    }
    for (int64_t head = 0; head < tile_.heads; ++head) WriteOut(head);
  }

 private:
  struct FloatRows {
    const float* data;
    int64_t stride;
  };

  // `count` rows of one head from `first` as float32: where they lie, or widened without gaps.
  FloatRows Widen(const KvRows& rows, int64_t first, int64_t count, int64_t width) const {
    const KvRows from = rows.From(first, 0, shape_.kv_heads, width);
    const int64_t stride = rows.Stride(shape_.kv_heads, width);
    if (from.type == DType::kF32) return {reinterpret_cast<const float*>(from.data), stride};
    for (int64_t row = 0; row < count; ++row) {
      float* const to = widened_ + row * width;
      ToFloat(from.type, from.data + ByteSize(from.type, row * stride), width, to);
      if (from.scales != nullptr) kernels_.scale(to, from.scales[row], width);
    }
    return {widened_, width};
  }

  void PackKeys(int64_t key, int64_t keys) const {
    const FloatRows rows = Widen(tile_.keys, key, keys, shape_.head_dim);
    product_.pack_left_lines(rows.data, rows.stride, keys, shape_.head_dim, keys_);
  }

  void PackValues(int64_t key, int64_t keys) const {
    const FloatRows rows = Widen(tile_.values, key, keys, shape_.value_width());
    product_.pack_left_columns(rows.data, rows.stride, shape_.value_width(), keys, product_.left_width * keys,
                               values_);
  }

  // Adds keys [key, key + keys) to the panel of queries that begins at `column`.
  void AddKeys(int64_t column, int64_t key, int64_t keys) const {
    const int64_t position = past_ + tile_.first + column % padded_rows_;  // of the panel's first query
    const int64_t seen = shape_.causal ? position + 1 - key : keys;        // by it
    const int64_t taken = std::min(keys, seen + width_ - 1);               // by the panel's last query
    const int64_t passed = shape_.FirstKey(position) - key;                // out of the first one's window
    if (taken <= 0 || passed >= taken) return;
    product_.multiply(product_.PaddedLeft(taken), width_, shape_.head_dim, keys_,
                      product_.left_width * shape_.head_dim, query_ + column * shape_.head_dim, false,
                      scores_, width_);
    AdjustScores(column, key, taken);
    if (shape_.window > 0) HidePassedKeys(position, key, taken);
    const bool begun = maximum_[column] != -std::numeric_limits<float>::infinity();
    const float least =
        kernels_.softmax_columns(scores_, taken, seen, maximum_ + column, weight_ + column, correction_);
    float* sums = sums_ + column * padded_dim_;
    if (begun && least != 1.0f) kernels_.scale_columns(sums, padded_dim_, correction_);
    product_.multiply(padded_dim_, width_, taken, values_, product_.left_width * keys, scores_, begun, sums,
                      width_);
  }

  // Scores are logarithms to base 2.
  void AdjustScores(int64_t column, int64_t key, int64_t keys) const {
    if (shape_.softcap != 0) kernels_.softcap(scores_, shape_.softcap * kLog2E, keys * width_);
    if (tile_.key_bias == nullptr) return;
    const float* bias = tile_.key_bias + column / padded_rows_ * shape_.key_bias_stride + key;
    for (int64_t row = 0; row < keys; ++row) {
      for (int64_t q = 0; q < width_; ++q) scores_[row * width_ + q] += bias[row] * kLog2E;
    }
  }

  // A query of the panel may see none of these keys: then its maximum must stay finite, and what it sums of
  // them is multiplied by 0 as soon as a key comes that it does see.
  void HidePassedKeys(int64_t position, int64_t key, int64_t keys) const {
    for (int64_t q = 0; q < width_; ++q) {
      const int64_t passed = std::min(keys, shape_.FirstKey(position + q) - key);
      for (int64_t row = 0; row < passed; ++row) scores_[row * width_ + q] = -1e30f;
    }
  }

  void WriteOut(int64_t head) const {
    for (int64_t r = 0; r < tile_.rows; ++r) {
      const int64_t column = head * padded_rows_ + r, panel = column / width_ * width_;
      const float* sums = sums_ + panel * padded_dim_ + column - panel;
      float* out = tile_.out + r * tile_.out_stride + head * shape_.value_width();
      const float factor = 1.0f / weight_[column];
      for (int64_t d = 0; d < shape_.value_width(); ++d) out[d] = sums[d * width_] * factor;
    }
  }

  const AttentionShape& shape_;
  const VectorKernels& kernels_;
  const ProductKernels& product_;
  const Tile& tile_;
  const int64_t width_, padded_rows_, padded_dim_;
  const int64_t past_;                      // keys before the first query
  float *query_, *keys_, *values_;          // panels
  float* widened_;                          // keys or values that are not float32
  float *scores_, *sums_;                   // of one panel of queries; of all, outᵀ before division
  float *maximum_, *weight_, *correction_;  // of each query; weight: the sum of powers
};

// Heads that share keys are tiled together, so that these are packed once for all of them.
struct Tiling {
  int64_t heads;        // of a tile, at most
  int64_t groups;       // of so many heads, that share one head of keys
  int64_t rows, tiles;  // of a tile, at most; of a sequence

  Tiling(const AttentionShape& shape, int64_t width) {
    const int64_t sharing = shape.heads / shape.kv_heads;
    groups = CeilDivide(sharing, kQueryColumns / width);
    heads = CeilDivide(sharing, groups);
    const int64_t most_panels = kQueryColumns / width / heads, panels = CeilDivide(shape.query_tokens, width);
    rows = CeilDivide(panels, CeilDivide(panels, most_panels)) * width;
    tiles = CeilDivide(shape.query_tokens, rows);
  }
};

}  // namespace

void Attend(const AttentionShape& shape, const VectorKernels& kernels, ThreadPool& pool,
            ThreadScratch& scratch, MatrixView query, const KvRows& keys, const KvRows& values,
            MatrixView out) {
  CHECK(query.rows == shape.sequences * shape.query_tokens && query.columns == shape.heads * shape.head_dim);
  CHECK(out.rows == query.rows && out.columns == shape.heads * shape.value_width());
  CHECK(shape.key_tokens >= shape.query_tokens && (shape.causal || shape.window == 0));
  CHECK(shape.key_bias == nullptr || shape.key_bias_stride >= shape.key_tokens);
  CHECK(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0);
  CHECK(shape.sequences <= 1 || shape.key_stride >= shape.key_tokens);
  if (query.rows == 0) return;
  if (shape.query_tokens <= kFewQueries)
    return AttendFewQueries(shape, kernels, pool, scratch, query, keys, values, out);
  const Tiling tiling(shape, kernels.product.right_width);
  const int64_t sharing = shape.heads / shape.kv_heads;
  const int64_t parts = shape.sequences * shape.kv_heads * tiling.groups;  // a tile of each comes in turn
  pool.ParallelFor(parts * tiling.tiles, [&](int64_t task, int thread) {
    // Late tiles see most keys: begin with them, so that no thread is left with a long one at the end.
    const int64_t tile_index = tiling.tiles - 1 - task / parts, part = task % parts;
    const int64_t first_head = part % tiling.groups * tiling.heads;
    const int64_t kv_head = part / tiling.groups % shape.kv_heads;
    const int64_t sequence = part / tiling.groups / shape.kv_heads;
    const int64_t first = tile_index * tiling.rows, first_key = sequence * shape.key_stride;
    const int64_t row = sequence * shape.query_tokens + first, head = kv_head * sharing + first_head;
    const Tile tile{
        .first = first,
        .rows = std::min(tiling.rows, shape.query_tokens - first),
        .heads = std::min(tiling.heads, sharing - first_head),
        .keys = keys.From(first_key, kv_head, shape.kv_heads, shape.head_dim),
        .values = values.From(first_key, kv_head, shape.kv_heads, shape.value_width()),
        .query = query.data + row * query.columns + head * shape.head_dim,
        .out = out.data + row * out.columns + head * shape.value_width(),
        .query_stride = query.columns,
        .out_stride = out.columns,
        .key_bias = shape.key_bias == nullptr ? nullptr : shape.key_bias + head * shape.key_bias_stride};
    const int64_t elements = TileAttention::ScratchElements(shape, kernels.product);
    TileAttention(shape, kernels, tile, scratch.Get(thread, elements)).Run();
  });
}

}  // namespace gptq
