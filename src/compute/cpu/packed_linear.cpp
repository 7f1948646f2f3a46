#include "compute/cpu/packed_linear.h"

#include <algorithm>
#include <cstring>

#include "base/integer.h"

namespace gptq {
namespace {

constexpr int64_t kRowsAtOnce = 2048;        // of x, packed: bounds the buffer
constexpr int64_t kPieceBytes = 128 * 1024;  // codes that stay in L2 while many rows pass by
constexpr int64_t kPiecesPerThread = 4;      // at least, so that no thread waits long for another
constexpr int64_t kFewRows = 6;
constexpr int64_t kRows = PackedKernels::kMostRows, kTiles = PackedKernels::kTiles;

template <typename Vector>
void Enlarge(Vector& vector, int64_t size) {
  if (static_cast<int64_t>(vector.size()) < size) vector.resize(static_cast<size_t>(size));
}

// Tiles that are multiplied together lie half a matrix apart: memory is read as two streams. Pairs go to
// threads in pieces.
class TilePairs {
 public:
  // `rows` of inputs, by `threads`.
  TilePairs(const TiledWeight& weight, int64_t rows, int64_t threads)
      : weight_(weight), count_(CeilDivide(weight.tiles(), kTiles)) {
    const int64_t most = std::max<int64_t>(1, kPieceBytes / (kTiles * weight_.tile_bytes()));
    piece_ = std::max<int64_t>(1, count_ / (threads * kPiecesPerThread));
    if (rows > kFewRows) piece_ = std::min(piece_, most);
  }

  int64_t count() const { return count_; }
  int64_t piece() const { return piece_; }
  int64_t pieces() const { return CeilDivide(count_, piece_); }
  // rows [first_row, first_row + rows) of y, outputs of pair `pair`.
  void Multiply(const PackedKernels& kernels, const PackedInputs& inputs, int64_t pair, int64_t first_row,
                int64_t rows, std::span<const float> bias, MatrixView y) const {
    const int64_t index[kTiles] = {pair, pair + count_};
    const bool second = index[1] < weight_.tiles();
    const WeightTile tiles[kTiles] = {weight_.tile(pair), weight_.tile(second ? index[1] : pair)};
    alignas(64) float out[kRows * kTiles * kTileOutputs];
    const auto multiply = inputs.in_groups ? kernels.multiply_many : kernels.multiply;
    multiply(tiles, inputs, first_row, rows, out);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t t = 0; t < (second ? kTiles : 1); ++t) {
        const int64_t first = index[t] * kTileOutputs, count = std::min(kTileOutputs, weight_.rows() - first);
        float* to = y.data + (first_row + r) * y.columns + first;
        std::memcpy(to, out + (r * kTiles + t) * kTileOutputs, static_cast<size_t>(count) * sizeof(float));
        for (int64_t i = 0; i < count && !bias.empty(); ++i) to[i] += bias[static_cast<size_t>(first + i)];
      }
    }
  }

 private:
  const TiledWeight& weight_;
  int64_t count_, piece_;
};

// Piece `piece` of the product of some rows.
void MultiplyPiece(const PackedKernels& kernels, const PackedInputs& inputs, int64_t rows,
                   const TilePairs& pairs, int64_t piece, std::span<const float> bias, MatrixView y) {
  const int64_t end = std::min((piece + 1) * pairs.piece(), pairs.count());
  for (int64_t row = 0; row < rows; row += kRows) {
    for (int64_t pair = piece * pairs.piece(); pair < end; ++pair)
      pairs.Multiply(kernels, inputs, pair, row, std::min(kRows, rows - row), bias, y);
  }
}

}  // namespace

PackedInputs PackedInputBuffer::Pack(const PackedKernels& kernels, ThreadPool& pool, ThreadScratch& scratch,
                                     int planes, bool in_groups, MatrixView x, const TiledWeight& weight) {
  const InputForm form = weight.input_form(planes);
  const int64_t row_bytes = weight.places() * planes, blocks = form.block_count, sums = blocks * form.groups;
  constexpr int64_t kGroup = PackedKernels::kGroupRows;
  Enlarge(values_, (in_groups ? RoundUp(x.rows, kGroup) : x.rows) * row_bytes);
  Enlarge(scales_, x.rows * blocks);
  Enlarge(sums_, x.rows * sums);
  Enlarge(scaled_sums_, x.rows * sums);
  const auto pack = [&](int64_t row, std::byte* values, float* placed) {
    const float* in = x.data + row * x.columns;
    if (!weight.InputsInPlace()) {
      weight.PlaceInputs(in, placed);
      in = placed;
    }
    kernels.pack_inputs(form, in, values, scales_.data() + row * blocks, sums_.data() + row * sums,
                        scaled_sums_.data() + row * sums);
  };
  const auto pack_row = [&](int64_t row, int thread) {
    pack(row, values_.data() + row * row_bytes, scratch.Get(thread, weight.places()));
  };
  const auto pack_group = [&](int64_t group, int thread) {
    float* placed = scratch.Get(thread, weight.places() + row_bytes / 4);
    auto* values = reinterpret_cast<std::byte*>(placed + weight.places());
    for (int64_t row = group * kGroup; row < std::min(x.rows, (group + 1) * kGroup); ++row) {
      pack(row, values, placed);
      kernels.place_row(form, values, row % kGroup, values_.data() + group * kGroup * row_bytes);
    }
  };
  if (in_groups) {
    pool.ParallelFor(CeilDivide(x.rows, kGroup), pack_group);
  } else if (x.rows <= kFewRows) {  // less work than waking a thread
    for (int64_t row = 0; row < x.rows; ++row) pack_row(row, 0);
  } else {
    pool.ParallelFor(x.rows, pack_row);
  }
  return {form, values_.data(), scales_.data(), sums_.data(), scaled_sums_.data(), row_bytes, in_groups};
}

void MultiplyTiled(const PackedKernels& kernels, ThreadPool& pool, ThreadScratch& scratch,
                   PackedInputBuffer& buffer, int planes, MatrixView x,
                   std::span<const LinearProduct> products) {
  const bool fit = std::ranges::all_of(
      products, [](const LinearProduct& product) { return product.weight->tiled()->FitsSignedBytes(); });
  for (int64_t chunk = 0; chunk < x.rows; chunk += kRowsAtOnce) {
    const int64_t rows = std::min(kRowsAtOnce, x.rows - chunk);
    const auto pairs = [&](const LinearProduct& product) {
      return TilePairs(*product.weight->tiled(), rows, pool.threads());
    };
    const bool in_groups = fit && kernels.multiply_many != nullptr && rows >= PackedKernels::kManyFrom;
    const PackedInputs inputs = buffer.Pack(kernels, pool, scratch, planes, in_groups, x.Rows(chunk, rows),
                                            *products[0].weight->tiled());
    int64_t pieces = 0;
    for (const LinearProduct& product : products) pieces += pairs(product).pieces();
    pool.ParallelFor(pieces, [&](int64_t piece) {
      const LinearProduct* product = products.data();
      for (; piece >= pairs(*product).pieces(); ++product) piece -= pairs(*product).pieces();
      MultiplyPiece(kernels, inputs, rows, pairs(*product), piece, product->bias,
                    product->y.Rows(chunk, rows));
    });
  }
}

}  // namespace gptq
