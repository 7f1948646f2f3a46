// The grids that weights are rounded to: one scale and one zero for each row of a group of columns.
//
// Work is done on tiles stored column by column: value of column c and row r at values[c * kTileRows + r], so
// that the rows of a tile fill the lanes of a vector register.
#pragma once

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "quant/options.h"

namespace gptq {

inline constexpr int64_t kTileRows = 64;

// A grid's value of code k is scale * (k - zero). A ternary grid's values are zero (code 0), 0 (1) and scale
// (2).
struct Grid {
  float scale;
  float zero;
};

// The nearest value of `type` that can be divided by: in magnitude at least the type's least positive (for
// kF32 normal) value, at most its greatest. Not NaN. Scales are negative only in SymmetricGrid::kFullRange.
float RoundScale(float scale, DType type);
float GreatestScale(DType type);

// Rounds one column of a tile: code and value of the nearest grid point, ties to the even step count as the
// published program's round() does.
void QuantizeColumn(const SolverOptions& options, int64_t rows, const float* weights, const float* scales,
                    const float* zeros, uint8_t* codes, float* values);

class GridFinder {
 public:
  explicit GridFinder(const SolverOptions& options) : options_(options) {}

  // Grids of the `rows` (<= kTileRows) rows of a tile over its `columns` columns, into scales[r] and
  // zeros[r]. Clip::kHessian, which needs more than the values, counts as kNone here: see clip_search.h.
  void Find(const float* values, int64_t columns, int64_t rows, float* scales, float* zeros) const;
  // The grid that spans [minimum, maximum], minimum <= 0 <= maximum, not both 0.
  Grid Span(float minimum, float maximum) const;
  // The ranges that Find spans, unclipped: [kTileRows] each.
  void Ranges(const float* values, int64_t columns, int64_t rows, float* minimum, float* maximum) const;

 private:
  void SearchClip(const float* values, int64_t columns, int64_t rows, const float* minimum,
                  const float* maximum, float* scales, float* zeros) const;

  SolverOptions options_;
};

}  // namespace gptq
