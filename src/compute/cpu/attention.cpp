#include "compute/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "compute/blas.h"

namespace gptq {
namespace {

constexpr int64_t kQueryTile = 128;
constexpr int64_t kKeyTile = 512;

// One head's queries [first, first + rows) of one sequence. Pointers are to the head's first column.
struct Tile {
  int64_t first, rows;
  const float *query, *keys, *values;
  int64_t query_stride, key_stride;  // elements between rows
  float* out;                        // rows as wide apart as the query's
};

// Running softmax (Milakov and Gimelshein 2018): out accumulates exp(s - maximum) v, and is rescaled whenever
// a later block of keys raises the maximum.
void AttendTile(const AttentionShape& shape, const VectorKernels& kernels, const Tile& tile, float* scores) {
  const int64_t past = shape.key_tokens - shape.query_tokens;  // keys before the first query
  const int64_t visible = past + tile.first + tile.rows;       // keys seen by the tile's last query
  float* maximum = scores + kQueryTile * kKeyTile;
  float* sum = maximum + kQueryTile;
  std::fill_n(maximum, tile.rows, -std::numeric_limits<float>::infinity());
  std::fill_n(sum, tile.rows, 0.0f);
  for (int64_t r = 0; r < tile.rows; ++r) std::fill_n(tile.out + r * tile.query_stride, shape.head_dim, 0.0f);

  for (int64_t key = 0; key < visible; key += kKeyTile) {
    const int64_t keys = std::min(kKeyTile, visible - key);
    blas::Gemm(false, true, tile.rows, keys, shape.head_dim, shape.scale, tile.query, tile.query_stride,
               tile.keys + key * tile.key_stride, tile.key_stride, 0.0f, scores, kKeyTile);
    for (int64_t r = 0; r < tile.rows; ++r) {
      float* row = scores + r * kKeyTile;
      const int64_t seen = std::clamp<int64_t>(past + tile.first + r + 1 - key, 0, keys);
      if (seen > 0) {
        const float highest = std::max(maximum[r], kernels.maximum(row, seen));
        if (highest > maximum[r]) {
          const float correction = std::exp(maximum[r] - highest);
          if (key > 0) kernels.scale(tile.out + r * tile.query_stride, correction, shape.head_dim);
          sum[r] *= correction;
          maximum[r] = highest;
        }
        sum[r] += kernels.exp_sum(row, maximum[r], seen);
      }
      std::fill(row + seen, row + keys, 0.0f);
    }
    blas::Gemm(false, false, tile.rows, shape.head_dim, keys, 1.0f, scores, kKeyTile,
               tile.values + key * tile.key_stride, tile.key_stride, 1.0f, tile.out, tile.query_stride);
  }
  for (int64_t r = 0; r < tile.rows; ++r)
    kernels.scale(tile.out + r * tile.query_stride, 1.0f / sum[r], shape.head_dim);
}

}  // namespace

void AttendCausal(const AttentionShape& shape, const VectorKernels& kernels, ThreadPool& pool,
                  std::vector<std::vector<float>>& scratch, MatrixView query, const float* keys,
                  const float* values, MatrixView out) {
  CHECK(query.rows == shape.sequences * shape.query_tokens && query.columns == shape.heads * shape.head_dim);
  CHECK(out.rows == query.rows && out.columns == query.columns && shape.key_tokens >= shape.query_tokens);
  CHECK(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0);
  CHECK(shape.sequences <= 1 || shape.key_stride >= shape.key_tokens);
  const int64_t tiles = (shape.query_tokens + kQueryTile - 1) / kQueryTile;
  const int64_t key_stride = shape.kv_heads * shape.head_dim;
  pool.ParallelFor(shape.sequences * shape.heads * tiles, [&](int64_t task, int thread) {
    std::vector<float>& buffer = scratch[static_cast<size_t>(thread)];
    buffer.resize(std::max<size_t>(buffer.size(), kQueryTile * (kKeyTile + 2)));
    // Late tiles see most keys: begin with them, so that no thread is left with a long one at the end.
    const int64_t tile_index = tiles - 1 - task / (shape.sequences * shape.heads);
    const int64_t head = task % shape.heads, sequence = task / shape.heads % shape.sequences;
    const int64_t kv_column = head / (shape.heads / shape.kv_heads) * shape.head_dim;
    Tile tile;
    tile.first = tile_index * kQueryTile;
    tile.rows = std::min(kQueryTile, shape.query_tokens - tile.first);
    const int64_t offset =
        (sequence * shape.query_tokens + tile.first) * query.columns + head * shape.head_dim;
    tile.query = query.data + offset;
    tile.out = out.data + offset;
    tile.query_stride = query.columns;
    tile.keys = keys + sequence * shape.key_stride * key_stride + kv_column;
    tile.values = values + sequence * shape.key_stride * key_stride + kv_column;
    tile.key_stride = key_stride;
    AttendTile(shape, kernels, tile, buffer.data());
  });
}

}  // namespace gptq
