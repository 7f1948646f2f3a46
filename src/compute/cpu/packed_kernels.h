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

// 16 outputs of a matrix: weight = (code - zero) * scale + offset. With sub-scales, a group's scale and
// offset are small integers times those of its super-block.
struct WeightTile {
  const uint8_t* codes = nullptr;      // [units][bits][64 bytes]
  const void* scales = nullptr;        // [groups][16], or [super-blocks][16]: float16 or float32
  const void* offsets = nullptr;       // the same, or null
  const uint8_t* zeros = nullptr;      // [groups][16], or null: all are InputForm::zero
  const int8_t* sub_scales = nullptr;  // [groups][16], or null
  // The same; null with offsets: a byte of sub_scales has the scale in its low, the offset in its high half.
  const int8_t* sub_offsets = nullptr;
  int super_shift = 0;  // group g is of super-block g >> super_shift
  bool half = true;     // scales and offsets are float16
};

// How inputs lie for the weights that they are multiplied by.
struct InputForm {
  int bits = 4;    // of the codes
  int planes = 2;  // bytes of a value
  const ColumnBlock* blocks = nullptr;
  int64_t block_count = 0;
  int64_t groups = 1;           // of the weights in each block: 2 in blocks of one unit, half of it each
  int64_t blocks_together = 1;  // that get one scale
  int32_t zero = 1;             // of all weights, where they have one
};

// An input that is far greater than most of its row. Rounded with the others it would make their steps
// coarse; so it is multiplied apart, in float32 (arXiv 2208.07339, section 3.2).
struct Outlier {
  int32_t index;  // in its row; or, among those of a column, its row
  float value;
};

// Where the weights of outliers are in a tile: byte shift / 8 of the lanes of a code vector.
struct OutlierColumn {
  int32_t unit, vector, shift, group;
  int32_t count;  // of its outliers
};

// Of up to PackedKernels::kMostRows rows; rows are counted from the first of them.
struct Outliers {
  const OutlierColumn* columns = nullptr;
  int64_t column_count = 0;
  const Outlier* values = nullptr;  // of each column in turn
};

// Inputs rounded to 8 bits for each plane, a scale for each row and block: x = value * scale.
struct PackedInputs {
  InputForm form;
  const std::byte* values = nullptr;   // [rows][units][planes * 32 bytes], in the kernel's own order
  const float* scales = nullptr;       // [rows][blocks]
  const int32_t* sums = nullptr;       // [rows][blocks][groups], of the values, times -zero
  const float* scaled_sums = nullptr;  // [rows][blocks][groups], of the values, times their scale
  int64_t row_bytes = 0;
  bool in_groups = false;              // values are [rows / 16][16 * row_bytes], as multiply_many wants them
  const Outliers* outliers = nullptr;  // of each PackedKernels::kMostRows rows; null: there are none
};

struct PackedKernels {
  // What one call of `multiply` takes: so many tiles, and rows at most.
  static constexpr int kTiles = 2;
  static constexpr int kMostRows = 96;
  // From where on `multiply_many` is faster, and the rows of its groups.
  static constexpr int64_t kManyFrom = 16, kGroupRows = 16;
  // Up to here the bytes of a value of one or two planes, taken apart, are all signed.
  static constexpr int32_t LargestValue(int planes) { return planes == 1 ? 127 : 127 * 256 + 127; }

  // An outlier is greater than so many times the root mean square of its row. So less than one in the square
  // of that can be: 64; 63 leaves room for rounding.
  static constexpr float kOutlier = 8;
  static constexpr int64_t MostOutliers(int64_t columns) { return columns / 63 + 1; }

  std::string_view isa;  // "portable", "avx2", "avx512", "avx512vnni", "amx"
  bool (*supported)();
  int64_t most_rows;  // of a product by two planes; for more float32 panels are faster
  // Takes the outliers of a row of inputs [count], whole units, and returns how many there are: at most
  // MostOutliers. If there are any `rest` is the row with zeros in their places; it may be x itself.
  int64_t (*take_outliers)(const float* x, int64_t count, float* rest, Outlier* outliers);
  // Rounds one row of inputs [units * 32]. A block with a NaN or an infinity gets the scale NaN.
  void (*pack_inputs)(const InputForm& form, const float* x, std::byte* values, float* scales, int32_t* sums,
                      float* scaled_sums);
  // out [kMostRows][kTiles][16], of which the first `rows` are set = kTiles tiles times `rows` rows of inputs
  // from `first_row`. A row's result does not depend on how many are multiplied with it.
  void (*multiply)(const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
                   float* out);
  // out += the products of outliers.
  void (*add_outliers)(const WeightTile* tiles, const InputForm& form, const Outliers& outliers, float* out);
  // As multiply, of weights with one group in a block whose codes less their zeros fit signed bytes, with
  // inputs in groups: null where there is no such thing. `first_row` is a multiple of kGroupRows.
  void (*multiply_many)(const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
                        float* out) = nullptr;
  // Moves a row's packed `values` to where they lie in their group [kGroupRows * row_bytes].
  void (*place_row)(const InputForm& form, const std::byte* values, int64_t row, std::byte* group) = nullptr;
};

std::span<const PackedKernels* const> AllPackedKernels();
// "" = the best of this processor. Throws Error for one that is unknown or that it lacks.
const PackedKernels& SelectPackedKernels(std::string_view isa);

}  // namespace gptq
