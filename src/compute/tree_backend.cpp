#include "compute/tree_backend.h"

#include <algorithm>

#include "base/error.h"

namespace gptq {
namespace {

// Rows of the segment's prefix and its own, `width` elements each, one after the other.
const float* Joined(const KvRows& stored, int64_t width, const TreeSegment& segment, Matrix& joined) {
  CHECK(stored.type == DType::kF32);
  const auto* rows = reinterpret_cast<const float*>(stored.data);
  if (segment.prefix_rows == 0) return rows + segment.first_row * width;
  joined.Resize(segment.prefix_rows + segment.rows, width);
  std::copy_n(rows + segment.prefix_row * width, segment.prefix_rows * width, joined.data());
  std::copy_n(rows + segment.first_row * width, segment.rows * width,
              joined.data() + segment.prefix_rows * width);
  return joined.data();
}

}  // namespace

void TreeBackend::Rotate(const RotaryTable& table, int64_t first_position, int64_t sequence_tokens,
                         int64_t head_dim, int64_t first_dimension, MatrixView x) {
  CHECK(first_position == 0 && sequence_tokens == x.rows);
  for (const TreeSegment& segment : segments_) {
    inner_.Rotate(table, segment.prefix_rows, segment.rows, head_dim, first_dimension,
                  x.Rows(segment.first_row, segment.rows));
  }
}

void TreeBackend::Attend(const AttentionShape& shape, MatrixView query, const KvRows& keys,
                         const KvRows& values, MatrixView out) {
  CHECK(shape.sequences == 1 && shape.query_tokens == query.rows && shape.key_tokens == query.rows);
  const int64_t key_width = shape.kv_heads * shape.head_dim;
  const int64_t value_width = shape.kv_heads * shape.value_width();
  for (const TreeSegment& segment : segments_) {
    AttentionShape part = shape;
    part.query_tokens = segment.rows;
    part.key_tokens = part.key_stride = segment.prefix_rows + segment.rows;
    inner_.Attend(part, query.Rows(segment.first_row, segment.rows), Joined(keys, key_width, segment, keys_),
                  Joined(values, value_width, segment, values_), out.Rows(segment.first_row, segment.rows));
  }
}

void TreeBackend::ReceivedAttention(const AttentionShape&, MatrixView, const float*, std::span<float>) {
  CHECK(false);
}

}  // namespace gptq
