#include "compute/cpu/packed_linear.h"

#include <algorithm>
#include <cstring>

#include "base/integer.h"

namespace gptq {
namespace {

constexpr int64_t kRowsAtOnce = 2048;        // of x, packed: bounds the buffer
constexpr int64_t kPieceBytes = 128 * 1024;  // codes that stay in L2 while many rows pass by
constexpr int64_t kPiecesPerThread = 4;      // so that no thread waits long for another
// Of few rows: what is fetched ahead at a piece's end is another thread's, so pieces are not shorter.
constexpr int64_t kFewRows = 6, kLeastBytes = 512 * 1024;
constexpr int64_t kRows = PackedKernels::kMostRows, kTiles = PackedKernels::kTiles;

// Tiles that are multiplied together lie half a matrix apart: memory is read as two streams. Pairs go to
// threads in pieces.
class TilePairs {
 public:
  // `rows` of inputs, by `threads`.
  TilePairs(const TiledWeight& weight, int64_t rows, int64_t threads)
      : weight_(weight), count_(CeilDivide(weight.tiles(), kTiles)) {
    const auto pairs_of = [&](int64_t bytes) { return bytes / (kTiles * weight_.tile_bytes()); };
    const int64_t share = CeilDivide(count_, threads), pieces = threads * kPiecesPerThread;
    piece_ = rows > kFewRows ? std::min(count_ / pieces, pairs_of(kPieceBytes))
                             : std::max(count_ / pieces, std::min(share, pairs_of(kLeastBytes)));
    piece_ = std::max<int64_t>(1, piece_);
  }

  int64_t count() const { return count_; }
  int64_t piece() const { return piece_; }
  int64_t pieces() const { return CeilDivide(count_, piece_); }
  // rows [first_row, first_row + rows) of y from a multiple of kRows, outputs of pair `pair`.
  void Multiply(const PackedKernels& kernels, const PackedInputs& inputs, int64_t pair, int64_t first_row,
                int64_t rows, std::span<const float> bias, MatrixView y) const {
    const int64_t index[kTiles] = {pair, pair + count_};
    const bool second = index[1] < weight_.tiles();
    const WeightTile tiles[kTiles] = {weight_.tile(pair), weight_.tile(second ? index[1] : pair)};
    alignas(64) float out[kRows * kTiles * kTileOutputs];
    const auto multiply = inputs.in_groups ? kernels.multiply_many : kernels.multiply;
    multiply(tiles, inputs, first_row, rows, out);
    if (inputs.outliers != nullptr)
      kernels.add_outliers(tiles, inputs.form, inputs.outliers[first_row / kRows], out);
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
