#include "quant/clip_search.h"

#include <algorithm>
#include <limits>

namespace gptq {
namespace {

constexpr int kSteps = 20;
constexpr float kStep = 0.03f;

}  // namespace

void ClipSearch::Find(const float* values, int64_t columns, int64_t rows, const float* triangle,
                      const float* pivots, float* errors, float* scales, float* zeros) const {
  float minimum[kTileRows], maximum[kTileRows], scale[kTileRows], zero[kTileRows], loss[kTileRows];
  float best[kTileRows];
  finder_.Ranges(values, columns, rows, minimum, maximum);
  std::fill_n(best, kTileRows, std::numeric_limits<float>::infinity());
  std::fill_n(scale, kTileRows, 1.0f);
  std::fill_n(zero, kTileRows, 0.0f);
  const RowGrids grids{scale, zero, nullptr, static_cast<float>(options_.maximum_code())};
  for (int step = 0; step < kSteps; ++step) {
    const float shrink = 1.0f - kStep * static_cast<float>(step);
    for (int64_t r = 0; r < rows; ++r) {
      const Grid grid = finder_.Span(shrink * minimum[r], shrink * maximum[r]);
      scale[r] = grid.scale;
      zero[r] = grid.zero;
    }
    if (triangle != nullptr) {
      kernels_.try_grids(columns, triangle, grids, values, errors, loss);
    } else {
      kernels_.try_grids_apart(columns, pivots, grids, values, loss);
    }
    for (int64_t r = 0; r < rows; ++r) {
      // The first step is taken in any case: errors that overflow compare as false.
      if (step == 0 || loss[r] < best[r]) {
        best[r] = loss[r];
        scales[r] = scale[r];
        zeros[r] = zero[r];
      }
    }
  }
}

}  // namespace gptq
