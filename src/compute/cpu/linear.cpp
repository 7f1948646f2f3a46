#include "compute/cpu/linear.h"

#include <algorithm>

#include "base/integer.h"

namespace gptq {
namespace {

constexpr int64_t kVectorRows = 8;            // up to here a product is a few matrix-vector products
constexpr int64_t kPiece = 64;                // outputs of such a product that a thread takes at once
constexpr int64_t kRowTile = 144;             // rows of x packed at once: with kDepth they fill a part of L2
constexpr int64_t kDepth = 288;               // inputs multiplied at once: a panel of weights stays in L1
constexpr int64_t kPackedElements = 8 << 20;  // weights held as float32 at once: 32 MiB
constexpr int64_t kRowsWorthATile = 24;
constexpr int64_t kFewElements = 4096;

// Rows of weights, as they are stored where the kernels can read that.
class StoredRows {
 public:
  StoredRows(const LinearContext& context, const Weight& weight)
      : weight_(weight), kernels_(context.kernels), floats_(weight.FloatData()) {
    for (const DType dtype : {DType::kF16, DType::kBF16}) {
      if (halves_ != nullptr) break;
      halves_ = weight.HalfData(dtype);
      dot_half_ = dtype == DType::kF16 ? kernels_.dot_half : kernels_.dot_bfloat16;
    }
  }

  bool in_place() const { return floats_ != nullptr || halves_ != nullptr; }
  // Of row `row` with x; `row_read`: the row as float32, where it is not in place.
  float Dot(int64_t row, const float* row_read, const float* x) const {
    const int64_t n = weight_.columns();
    if (halves_ != nullptr) return dot_half_(halves_ + row * n, x, n);
    return kernels_.dot(floats_ != nullptr ? floats_ + row * n : row_read, x, n);
  }

 private:
  const Weight& weight_;
  const VectorKernels& kernels_;
  const float* floats_;
  const uint16_t* halves_ = nullptr;
  float (*dot_half_)(const uint16_t* a, const float* b, int64_t n) = nullptr;
};

void MultiplyFewRows(const LinearContext& context, MatrixView x, const Weight& weight,
                     std::span<const float> bias, MatrixView y) {
  const StoredRows stored(context, weight);
  // What is turned into float32 at once should stay in the first cache.
  const int64_t together =
      stored.in_place() ? kPiece : std::clamp<int64_t>(kFewElements / x.columns, 1, kPiece);
  context.pool.ParallelFor(CeilDivide(weight.rows(), kPiece), [&](int64_t piece, int thread) {
    const int64_t end = std::min((piece + 1) * kPiece, weight.rows());
    for (int64_t first = piece * kPiece; first < end; first += together) {
      const int64_t count = std::min(together, end - first);
      float* rows = nullptr;
      if (!stored.in_place()) {
        rows = context.scratch.Get(thread, count * x.columns);
        weight.ReadRows(first, count, rows);
      }
      for (int64_t r = 0; r < count; ++r) {
        for (int64_t t = 0; t < x.rows; ++t) {
          const float value =
              stored.Dot(first + r, rows == nullptr ? nullptr : rows + r * x.columns, x.data + t * x.columns);
          y.data[t * y.columns + first + r] =
              bias.empty() ? value : value + bias[static_cast<size_t>(first + r)];
        }
      }
    }
  });
}

// Some outputs of a weight, packed: for each block of inputs the panels of all outputs.
class PackedOutputs {
 public:
  PackedOutputs(const LinearContext& context, const Weight& weight, int64_t first, int64_t count)
      : width_(context.kernels.product.right_width),
        count_(count),
        inputs_(weight.columns()),
        depth_(RoundUp(CeilDivide(inputs_, CeilDivide(inputs_, kDepth)), 4)) {
    Matrix& panels = context.panels;
    const int64_t elements = RoundUp(count, width_) * inputs_;
    if (panels.columns() < elements) panels = Matrix(1, elements);
    data_ = panels.data();
    const float* whole = weight.FloatData();
    context.pool.ParallelFor(this->panels(), [&](int64_t panel, int thread) {
      const int64_t row = first + panel * width_, rows = std::min(width_, first + count - row);
      const float* lines = whole == nullptr ? nullptr : whole + row * inputs_;
      if (lines == nullptr) {
        float* buffer = context.scratch.Get(thread, width_ * inputs_);
        weight.ReadRows(row, rows, buffer);
        lines = buffer;
      }
      for (int64_t k = 0; k < inputs_; k += depth_)
        context.kernels.product.pack_right_lines(lines + k, inputs_, rows, depth(k),
                                                 data_ + Offset(panel, k));
    });
  }

  int64_t panels() const { return CeilDivide(count_, width_); }
  int64_t block() const { return depth_; }
  int64_t depth(int64_t k) const {
    return std::min(depth_, inputs_ - k);
  }  // of the block that begins at input k
  const float* panel(int64_t panel, int64_t k) const { return data_ + Offset(panel, k); }
  int64_t first_output(int64_t panel) const { return panel * width_; }
  int64_t outputs(int64_t panel) const { return std::min(width_, count_ - panel * width_); }

 private:
  int64_t Offset(int64_t panel, int64_t k) const { return (k * panels() + panel * depth(k)) * width_; }

  int64_t width_, count_, inputs_, depth_;
  float* data_ = nullptr;
};

// How the product is shared: by rows, so that each thread gets as many tiles as the others, or where rows are
// few also by outputs. Results do not depend on it (product_kernels.h).
struct Sharing {
  int64_t rows, row_tiles, panels, panel_tiles;

  Sharing(int64_t all_rows, int64_t all_panels, const LinearContext& context) {
    const int64_t threads = context.pool.threads();
    int64_t tiles = CeilDivide(all_rows, kRowTile), splits = 1;
    if (all_rows >= kRowsWorthATile * threads) {
      tiles = RoundUp(tiles, threads);
    } else {
      splits = std::min(all_panels, CeilDivide(threads, tiles));
    }
    rows = context.kernels.product.PaddedLeft(CeilDivide(all_rows, tiles));
    row_tiles = CeilDivide(all_rows, rows);
    panels = CeilDivide(all_panels, splits);
    panel_tiles = CeilDivide(all_panels, panels);
  }
};

// y[:, first ...) = x Wᵀ + bias.
void MultiplyPacked(const LinearContext& context, MatrixView x, const PackedOutputs& weight, int64_t first,
                    std::span<const float> bias, MatrixView y) {
  const ProductKernels& product = context.kernels.product;
  const Sharing tiles(x.rows, weight.panels(), context);
  context.pool.ParallelFor(tiles.row_tiles * tiles.panel_tiles, [&](int64_t tile, int thread) {
    const int64_t row = tile / tiles.panel_tiles * tiles.rows, rows = std::min(tiles.rows, x.rows - row);
    const int64_t begin = tile % tiles.panel_tiles * tiles.panels;
    const int64_t end = std::min(begin + tiles.panels, weight.panels());
    float* left = context.scratch.Get(thread, product.PaddedLeft(rows) * weight.block());
    float* out = y.data + row * y.columns + first;
    for (int64_t k = 0; k < x.columns; k += weight.block()) {
      const int64_t depth = weight.depth(k);
      product.pack_left_lines(x.data + row * x.columns + k, x.columns, rows, depth, left);
      for (int64_t panel = begin; panel < end; ++panel) {
        product.multiply(rows, weight.outputs(panel), depth, left, product.left_width * depth,
                         weight.panel(panel, k), k > 0, out + weight.first_output(panel), y.columns);
      }
    }
    if (bias.empty()) return;
    const int64_t from = weight.first_output(begin);
    const int64_t outputs = weight.first_output(end - 1) + weight.outputs(end - 1) - from;
    for (int64_t r = 0; r < rows; ++r)
      context.kernels.add(out + r * y.columns + from, bias.data() + first + from, outputs);
  });
}

}  // namespace

void MultiplyLinear(const LinearContext& context, MatrixView x, const Weight& weight,
                    std::span<const float> bias, MatrixView y) {
  if (x.rows <= kVectorRows) {
    MultiplyFewRows(context, x, weight, bias, y);
    return;
  }
  const int64_t width = context.kernels.product.right_width;
  const int64_t chunk = std::max<int64_t>(1, kPackedElements / weight.columns() / width) * width;
  for (int64_t first = 0; first < weight.rows(); first += chunk) {
    const PackedOutputs packed(context, weight, first, std::min(chunk, weight.rows() - first));
    MultiplyPacked(context, x, packed, first, bias, y);
  }
}

}  // namespace gptq
