// The inner loops of products with quantized weights, one table per instruction set: integers all the way to
// the end of a block of inputs. Written once (packed_kernels_generic.h); all instruction sets compute the
// same integers and differ only by the rounding of the sum over blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "compute/tile_layout.h"

namespace gptq {

// 16 outputs of a matrix: weight = (code - zero) * scale + offset.
struct WeightTile {
  const uint8_t* codes = nullptr;  // [units][bits][64 bytes]
  const void* scales = nullptr;    // [groups][16], float16 or float32
  const void* offsets = nullptr;   // the same, or null
  const uint8_t* zeros = nullptr;  // [groups][16], or null: all are `zero`
  int32_t zero = 0;
  bool half = true;  // scales and offsets are float16
};

// Inputs rounded to 8 bits for each plane, a scale for each row and block: x = value * scale.
struct PackedInputs {
  int planes = 2;
  bool in_groups = false;             // values: [rows / 16][16 * row_bytes], as multiply_many wants them
  const std::byte* values = nullptr;  // [rows][units][planes * 32 bytes], in the kernel's own order
  const float* scales = nullptr;      // [rows][blocks]
  const int32_t* sums = nullptr;      // [rows][blocks], of the values
  const ColumnBlock* blocks = nullptr;
  int64_t block_count = 0;
  int64_t row_bytes = 0;
};

struct PackedKernels {
  // What one call of `multiply` takes: so many tiles, and rows at most.
  static constexpr int kTiles = 2;
  static constexpr int kMostRows = 6;
  // What one call of `multiply_many` takes, and from where on it is faster.
  static constexpr int64_t kMany = 128, kManyFrom = 16;
  static constexpr int64_t kGroupRows = 16;
  // Up to here the bytes of a value of one or two planes, taken apart, are all signed.
  static constexpr int32_t LargestValue(int planes) { return planes == 1 ? 127 : 127 * 256 + 127; }

  std::string_view isa;  // "portable", "avx2", "avx512", "avx512vnni", "amx"
  bool (*supported)();
  int64_t most_rows;  // of a product by two planes; for more float32 panels are faster
  // Rounds one row of inputs [units * 32]. A block with a NaN or an infinity gets the scale NaN.
  void (*pack_inputs)(int bits, int planes, const float* x, const ColumnBlock* blocks, int64_t block_count,
                      std::byte* values, float* scales, int32_t* sums);
  // out [rows][kTiles][16] = kTiles tiles times `rows` <= kMostRows rows of inputs from `first_row`. A row's
  // result does not depend on how many are multiplied with it.
  void (*multiply)(int bits, const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row,
                   int64_t rows, float* out);
  // The same for many rows, up to kMany, of weights whose codes less their zeros fit signed bytes, with
  // inputs in groups: null where there is no such thing. `first_row` is a multiple of kGroupRows.
  void (*multiply_many)(int bits, const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row,
                        int64_t rows, float* out) = nullptr;
  // Moves a row's packed `values` to where they lie in their group [kGroupRows * row_bytes].
  void (*place_row)(int planes, const ColumnBlock* blocks, int64_t block_count, const std::byte* values,
                    int64_t row, std::byte* group) = nullptr;
};

std::span<const PackedKernels* const> AllPackedKernels();
// "" = the best of this processor. Throws Error for one that is unknown or that it lacks.
const PackedKernels& SelectPackedKernels(std::string_view isa);

}  // namespace gptq
