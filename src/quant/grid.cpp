#include "quant/grid.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/half.h"

namespace gptq {
namespace {

using Lane = std::array<float, kTileRows>;  // one value for each row of a tile

// Adding and subtracting 1.5 * 2^23 rounds |x| < 2^22 to the nearest integer, ties to even, without SSE4.1.
inline float RoundHalfEven(float x) {
  constexpr float kMagic = 12582912.0f;
  return (x + kMagic) - kMagic;
}

// clamp(round(w / scale) + zero, 0, maximum_code) - zero; the bounds are integers, so clamping first is the
// same.
inline float Steps(float weight, float scale, float zero, float maximum_code) {
  // In this order NaN becomes the lowest code instead of an undefined cast.
  const float steps = std::min(maximum_code - zero, std::max(-zero, weight / scale));
  return RoundHalfEven(steps);
}

// x^1.2 for x in [0, 4], to a few units in the last place: x * x^(1/5), the root by Newton's method from a
// guess made of the exponent bits. Unlike pow() it is the same on every machine and compiles to vector code.
inline float PowerOnePointTwo(float x) {
  const float t = x + 1e-30f;
  const auto bits = static_cast<float>(std::bit_cast<int32_t>(t));
  float root = std::bit_cast<float>(static_cast<int32_t>(bits * 0.2f) + 0x32ca0000);
  for (int i = 0; i < 3; ++i) {
    const float square = root * root;
    root = 0.8f * root + 0.2f * t / (square * square);
  }
  return x * root;
}

void QuantizeTernary(int64_t rows, const float* weights, const float* scales, const float* zeros,
                     uint8_t* codes, float* values) {
  for (int64_t r = 0; r < rows; ++r) {
    const bool high = weights[r] > scales[r] / 2, low = weights[r] < zeros[r] / 2;
    codes[r] = high ? 2 : low ? 0 : 1;
    values[r] = high ? scales[r] : low ? zeros[r] : 0.0f;
  }
}

}  // namespace

float GreatestScale(DType type) {
  switch (type) {
    case DType::kF16:
      return 65504.0f;
    case DType::kBF16:
      return BFloat16ToFloat(0x7f7f);
    default:
      return std::numeric_limits<float>::max();
  }
}

float RoundScale(float scale, DType type) {
  if (scale < 0) return -RoundScale(-scale, type);
  switch (type) {
    case DType::kF16:
      scale = HalfToFloat(FloatToHalf(scale));
      break;
    case DType::kBF16:
      scale = BFloat16ToFloat(FloatToBFloat16(scale));
      break;
    default:
      break;
  }
  const float least = type == DType::kF16 ? 0x1p-24f : std::numeric_limits<float>::min();
  return std::min(std::max(scale, least), GreatestScale(type));
}

void QuantizeColumn(const SolverOptions& options, int64_t rows, const float* weights, const float* scales,
                    const float* zeros, uint8_t* codes, float* values) {
  if (options.ternary) return QuantizeTernary(rows, weights, scales, zeros, codes, values);
  const auto maximum_code = static_cast<float>(options.maximum_code());
  for (int64_t r = 0; r < rows; ++r) {
    const float steps = Steps(weights[r], scales[r], zeros[r], maximum_code);
    codes[r] = static_cast<uint8_t>(static_cast<int32_t>(steps + zeros[r]));
    values[r] = scales[r] * steps;
  }
}

Grid GridFinder::Span(float minimum, float maximum) const {
  if (options_.ternary) {
    const float low = minimum == 0 ? 0.0f : -RoundScale(-minimum, options_.scale_type);
    return {maximum == 0 ? 0.0f : RoundScale(maximum, options_.scale_type), low};
  }
  const auto maximum_code = static_cast<float>(options_.maximum_code());
  if (options_.symmetric && options_.symmetric_grid == SymmetricGrid::kFullRange) {
    const float middle = (maximum_code + 1) / 2;
    const float greatest = -minimum >= maximum ? minimum : maximum;  // becomes code 0, `middle` steps below 0
    return {RoundScale(-greatest / middle, options_.scale_type), middle};
  }
  // The difference of two great floats may overflow; it is then clipped to the greatest scale.
  const float scale = RoundScale((maximum - minimum) / maximum_code, options_.scale_type);
  if (options_.symmetric) return {scale, (maximum_code + 1) / 2};
  const float zero = RoundHalfEven(std::min(-minimum / scale, maximum_code));
  const auto least = static_cast<float>(options_.minimum_zero);
  if (zero >= least) return {scale, zero};
  // One step less for the positive side.
  return {RoundScale(maximum / (maximum_code - least), options_.scale_type), least};
}

// As the published program widens them: 0 is always inside, and symmetric ranges are mirrored only where a
// weight is negative.
void GridFinder::Ranges(const float* values, int64_t columns, int64_t rows, float* minimum,
                        float* maximum) const {
  std::fill_n(minimum, kTileRows, 0.0f);
  std::fill_n(maximum, kTileRows, 0.0f);
  for (int64_t c = 0; c < columns; ++c) {
    const float* column = values + c * kTileRows;
    for (int64_t r = 0; r < kTileRows; ++r) {
      minimum[r] = std::min(minimum[r], column[r]);
      maximum[r] = std::max(maximum[r], column[r]);
    }
  }
  const bool mirrored = options_.symmetric && options_.symmetric_grid == SymmetricGrid::kPlain;
  for (int64_t r = 0; r < rows; ++r) {
    if (mirrored) {
      maximum[r] = std::max(-minimum[r], maximum[r]);
      if (minimum[r] < 0) minimum[r] = -maximum[r];
    }
    if (minimum[r] == 0 && maximum[r] == 0) {
      minimum[r] = -1;
      maximum[r] = 1;
    }
  }
}

void GridFinder::Find(const float* values, int64_t columns, int64_t rows, float* scales, float* zeros) const {
  CHECK(rows <= kTileRows);
  Lane minimum, maximum;
  Ranges(values, columns, rows, minimum.data(), maximum.data());
  if (options_.clip == Clip::kMse) {
    SearchClip(values, columns, rows, minimum.data(), maximum.data(), scales, zeros);
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const Grid grid = Span(minimum[r], maximum[r]);
    scales[r] = grid.scale;
    zeros[r] = grid.zero;
  }
}

// The published program's search: ranges shrunk by 0 to 79 percent, the first least sum of |q - w|^2.4.
void GridFinder::SearchClip(const float* values, int64_t columns, int64_t rows, const float* minimum,
                            const float* maximum, float* scales, float* zeros) const {
  constexpr int kSteps = 80;
  constexpr int64_t kChunk = 64;  // columns summed in float32 before the sum goes to double
  const auto maximum_code = static_cast<float>(options_.maximum_code());
  std::array<double, kTileRows> best;
  best.fill(std::numeric_limits<double>::infinity());
  Lane scale{}, zero{}, unit{};
  for (int64_t r = 0; r < rows; ++r) {
    unit[r] = 1.0f / std::max({-minimum[r], maximum[r], std::numeric_limits<float>::min()});
  }
  for (int step = 0; step < kSteps; ++step) {
    const auto shrink = static_cast<float>(1.0 - step / 100.0);
    for (int64_t r = 0; r < rows; ++r) {
      const Grid grid = Span(shrink * minimum[r], shrink * maximum[r]);
      scale[r] = grid.scale;
      zero[r] = grid.zero;
    }
    std::array<double, kTileRows> total{};
    for (int64_t begin = 0; begin < columns; begin += kChunk) {
      Lane partial{};
      for (int64_t c = begin; c < std::min(begin + kChunk, columns); ++c) {
        const float* column = values + c * kTileRows;
        for (int64_t r = 0; r < rows; ++r) {
          const float error =
              (scale[r] * Steps(column[r], scale[r], zero[r], maximum_code) - column[r]) * unit[r];
          partial[r] += PowerOnePointTwo(error * error);
        }
      }
      for (int64_t r = 0; r < rows; ++r) total[r] += static_cast<double>(partial[r]);
    }
    for (int64_t r = 0; r < rows; ++r) {
      if (total[r] < best[r]) {
        best[r] = total[r];
        scales[r] = scale[r];
        zeros[r] = zero[r];
      }
    }
  }
}

}  // namespace gptq
