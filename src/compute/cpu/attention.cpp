#include "compute/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace gptq {
namespace {

constexpr int64_t kFewQueries = 4;      // up to here each query goes alone
constexpr int64_t kQueryColumns = 288;  // at most, in one tile; a multiple of every register tile's width
constexpr int64_t kKeyTile = 120;       // a multiple of every register tile's height

bool FewQueries(const AttentionShape& shape) { return shape.query_tokens <= kFewQueries; }
int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Queries [first, first + rows) of one sequence, of `heads` heads that share keys and values. Pointers are to
// the first head's first column.
struct Tile {
  int64_t first, rows, heads;
  const float *query, *keys, *values;
  int64_t query_stride, key_stride;  // elements between rows
  float* out;                        // laid out like the query
};

// One head.
void AttendEachQuery(const AttentionShape& shape, const VectorKernels& kernels, const Tile& tile,
                     float* scores) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const int64_t seen = shape.key_tokens - shape.query_tokens + tile.first + r + 1;
    const float* query = tile.query + r * tile.query_stride;
    for (int64_t key = 0; key < seen; ++key)
      scores[key] = shape.scale * kernels.dot(query, tile.keys + key * tile.key_stride, shape.head_dim);
    const float sum = kernels.exp_sum(scores, kernels.maximum(scores, seen), seen);
    float* out = tile.out + r * tile.query_stride;
    std::fill_n(out, shape.head_dim, 0.0f);
    for (int64_t key = 0; key < seen; ++key)
      kernels.add_scaled(out, scores[key] / sum, tile.values + key * tile.key_stride, shape.head_dim);
  }
}

// Queries lie in panels as wide as a register tile, and everything about a query in its column: a block of
// keys gives scores [keys, width] = keys queriesᵀ, the running softmax goes down the columns, and the sums of
// values are outᵀ [head_dim, width].
class TileAttention {
 public:
  static int64_t ScratchElements(const AttentionShape& shape, const ProductKernels& product) {
    const int64_t dims = shape.head_dim + product.PaddedLeft(shape.head_dim);
    return (kQueryColumns + kKeyTile) * dims + kKeyTile * product.right_width + 3 * kQueryColumns;
  }

  TileAttention(const AttentionShape& shape, const VectorKernels& kernels, const Tile& tile, float* scratch)
      : shape_(shape),
        kernels_(kernels),
        product_(kernels.product),
        tile_(tile),
        width_(product_.right_width),
        padded_rows_(product_.PaddedRight(tile.rows)),
        padded_dim_(product_.PaddedLeft(shape.head_dim)),
        past_(shape.key_tokens - shape.query_tokens) {
    CHECK(padded_rows_ * tile.heads <= kQueryColumns);
    float* next = scratch;
    for (auto [buffer, elements] : {std::pair{&query_, kQueryColumns * shape.head_dim},
                                    {&sums_, kQueryColumns * padded_dim_},
                                    {&keys_, kKeyTile * shape.head_dim},
                                    {&values_, kKeyTile * padded_dim_},
                                    {&scores_, kKeyTile * width_},
                                    {&maximum_, kQueryColumns},
                                    {&weight_, kQueryColumns},
                                    {&correction_, kQueryColumns}}) {
      *buffer = next;
      next += elements;
    }
  }

  void Run() {
    constexpr float kLog2E = 1.44269504088896341f;
    const int64_t columns = padded_rows_ * tile_.heads;
    for (int64_t head = 0; head < tile_.heads; ++head) {
      product_.pack_right_lines(tile_.query + head * shape_.head_dim, tile_.query_stride, tile_.rows,
                                shape_.head_dim, query_ + head * padded_rows_ * shape_.head_dim);
    }
    kernels_.scale(query_, shape_.scale * kLog2E, columns * shape_.head_dim);
    std::fill_n(maximum_, columns, -std::numeric_limits<float>::infinity());
    std::fill_n(weight_, columns, 0.0f);
    const int64_t visible = past_ + tile_.first + tile_.rows;  // keys seen by the tile's last query
    for (int64_t key = 0; key < visible; key += kKeyTile) {
      const int64_t keys = std::min(kKeyTile, visible - key), offset = key * tile_.key_stride;
      product_.pack_left_lines(tile_.keys + offset, tile_.key_stride, keys, shape_.head_dim, keys_);
      product_.pack_left_columns(tile_.values + offset, tile_.key_stride, shape_.head_dim, keys,
                                 product_.left_width * keys, values_);
      for (int64_t column = 0; column < columns; column += width_) AddKeys(column, key, keys);
    }
    for (int64_t head = 0; head < tile_.heads; ++head) WriteOut(head);
  }

 private:
  // Adds keys [key, key + keys) to the panel of queries that begins at `column`.
  void AddKeys(int64_t column, int64_t key, int64_t keys) const {
    const int64_t seen = past_ + tile_.first + column % padded_rows_ + 1 - key;  // by the panel's first query
    const int64_t taken = std::min(keys, seen + width_ - 1);                     // by its last one
    if (taken <= 0) return;
    product_.multiply(product_.PaddedLeft(taken), width_, shape_.head_dim, keys_,
                      product_.left_width * shape_.head_dim, query_ + column * shape_.head_dim, false,
                      scores_, width_);
    const float least =
        kernels_.softmax_columns(scores_, taken, seen, maximum_ + column, weight_ + column, correction_);
    float* sums = sums_ + column * padded_dim_;
    if (key > 0 && least != 1.0f) kernels_.scale_columns(sums, padded_dim_, correction_);
    product_.multiply(padded_dim_, width_, taken, values_, product_.left_width * keys, scores_, key > 0, sums,
                      width_);
  }

  void WriteOut(int64_t head) const {
    for (int64_t r = 0; r < tile_.rows; ++r) {
      const int64_t column = head * padded_rows_ + r, panel = column / width_ * width_;
      const float* sums = sums_ + panel * padded_dim_ + column - panel;
      float* out = tile_.out + r * tile_.query_stride + head * shape_.head_dim;
      const float factor = 1.0f / weight_[column];
      for (int64_t d = 0; d < shape_.head_dim; ++d) out[d] = sums[d * width_] * factor;
    }
  }

  const AttentionShape& shape_;
  const VectorKernels& kernels_;
  const ProductKernels& product_;
  const Tile& tile_;
  const int64_t width_, padded_rows_, padded_dim_;
  const int64_t past_;                      // keys before the first query
  float *query_, *keys_, *values_;          // panels
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
    groups = FewQueries(shape) ? sharing : CeilDivide(sharing, kQueryColumns / width);
    heads = CeilDivide(sharing, groups);
    const int64_t most_panels = kQueryColumns / width / heads, panels = CeilDivide(shape.query_tokens, width);
    rows = CeilDivide(panels, CeilDivide(panels, most_panels)) * width;
    tiles = CeilDivide(shape.query_tokens, rows);
  }
};

}  // namespace

void AttendCausal(const AttentionShape& shape, const VectorKernels& kernels, ThreadPool& pool,
                  ThreadScratch& scratch, MatrixView query, const float* keys, const float* values,
                  MatrixView out) {
  CHECK(query.rows == shape.sequences * shape.query_tokens && query.columns == shape.heads * shape.head_dim);
  CHECK(out.rows == query.rows && out.columns == query.columns && shape.key_tokens >= shape.query_tokens);
  CHECK(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0);
  CHECK(shape.sequences <= 1 || shape.key_stride >= shape.key_tokens);
  if (query.rows == 0) return;
  const Tiling tiling(shape, kernels.product.right_width);
  const int64_t key_stride = shape.kv_heads * shape.head_dim, sharing = shape.heads / shape.kv_heads;
  const int64_t parts = shape.sequences * shape.kv_heads * tiling.groups;  // a tile of each comes in turn
  pool.ParallelFor(parts * tiling.tiles, [&](int64_t task, int thread) {
    // Late tiles see most keys: begin with them, so that no thread is left with a long one at the end.
    const int64_t tile_index = tiling.tiles - 1 - task / parts, part = task % parts;
    const int64_t first_head = part % tiling.groups * tiling.heads;
    const int64_t kv_head = part / tiling.groups % shape.kv_heads;
    const int64_t sequence = part / tiling.groups / shape.kv_heads;
    Tile tile;
    tile.first = tile_index * tiling.rows;
    tile.rows = std::min(tiling.rows, shape.query_tokens - tile.first);
    tile.heads = std::min(tiling.heads, sharing - first_head);
    const int64_t offset = (sequence * shape.query_tokens + tile.first) * query.columns +
                           (kv_head * sharing + first_head) * shape.head_dim;
    tile.query = query.data + offset;
    tile.out = out.data + offset;
    tile.query_stride = query.columns;
    tile.keys = keys + sequence * shape.key_stride * key_stride + kv_head * shape.head_dim;
    tile.values = values + sequence * shape.key_stride * key_stride + kv_head * shape.head_dim;
    tile.key_stride = key_stride;
    if (FewQueries(shape)) {
      AttendEachQuery(shape, kernels, tile, scratch.Get(thread, shape.key_tokens));
    } else {
      const int64_t elements = TileAttention::ScratchElements(shape, kernels.product);
      TileAttention(shape, kernels, tile, scratch.Get(thread, elements)).Run();
    }
  });
}

}  // namespace gptq
