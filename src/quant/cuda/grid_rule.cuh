// quant/grid.h for one row in one thread: the same float32 operations, never fused where the processor's are
// not, so that grids agree to the last bit.
#pragma once

#include "compute/cuda/kernel.cuh"
#include "quant/grid.h"
#include "quant/options.h"

namespace gptq::cuda {

// What the grids of a matrix depend on but for its weights.
struct GridRule {
  float maximum_code, minimum_zero;
  bool symmetric, full_range;
  DType scale_type;
  float least_scale, greatest_scale;
  Clip clip;
};

inline GridRule MakeGridRule(const SolverOptions& options) {
  return {static_cast<float>(options.maximum_code()),
          static_cast<float>(options.minimum_zero),
          options.symmetric,
          options.symmetric && options.symmetric_grid == SymmetricGrid::kFullRange,
          options.scale_type,
          options.scale_type == DType::kF16 ? 0x1p-24f : 0x1p-126f,
          GreatestScale(options.scale_type),
          options.clip};
}

__device__ inline float RoundHalfEven(float x) { return __fadd_rn(__fadd_rn(x, 12582912.0f), -12582912.0f); }

__device__ inline float RoundToBFloat16(float x) {
  const unsigned bits = __float_as_uint(x);
  return __uint_as_float((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
}

__device__ inline float RoundScale(const GridRule& rule, float scale) {
  float magnitude = scale < 0 ? -scale : scale;
  if (rule.scale_type == DType::kF16) magnitude = ToFloat(ToHalf(magnitude));
  if (rule.scale_type == DType::kBF16) magnitude = RoundToBFloat16(magnitude);
  magnitude = magnitude < rule.least_scale ? rule.least_scale : magnitude;
  magnitude = rule.greatest_scale < magnitude ? rule.greatest_scale : magnitude;
  return scale < 0 ? -magnitude : magnitude;
}

// The grid that spans [minimum, maximum], as GridFinder::Span.
__device__ inline Grid Span(const GridRule& rule, float minimum, float maximum) {
  const float middle = (rule.maximum_code + 1) / 2;
  if (rule.full_range) {
    const float greatest = -minimum >= maximum ? minimum : maximum;
    return {RoundScale(rule, __fdiv_rn(-greatest, middle)), middle};
  }
  const float scale = RoundScale(rule, __fdiv_rn(__fadd_rn(maximum, -minimum), rule.maximum_code));
  if (rule.symmetric) return {scale, middle};
  const float steps = __fdiv_rn(-minimum, scale);
  const float zero = RoundHalfEven(rule.maximum_code < steps ? rule.maximum_code : steps);
  if (zero >= rule.minimum_zero) return {scale, zero};
  return {RoundScale(rule, __fdiv_rn(maximum, rule.maximum_code - rule.minimum_zero)), rule.minimum_zero};
}

// How many shrunken ranges are tried.
inline int TrialCount(Clip clip) { return clip == Clip::kNone ? 1 : clip == Clip::kMse ? 80 : 20; }

__device__ inline Grid TrialGrid(const GridRule& rule, int trial, float minimum, float maximum) {
  const float shrink = rule.clip == Clip::kMse
                           ? static_cast<float>(1.0 - trial / 100.0)
                           : __fadd_rn(1.0f, -__fmul_rn(0.03f, static_cast<float>(trial)));
  return Span(rule, __fmul_rn(shrink, minimum), __fmul_rn(shrink, maximum));
}

// Steps from the zero to the nearest grid point; NaN goes to the lowest code.
__device__ inline float GridSteps(float weight, const Grid& grid, float maximum_code) {
  const float low = -grid.zero, high = maximum_code - grid.zero;
  float steps = __fdiv_rn(weight, grid.scale);
  steps = steps > low ? steps : low;
  steps = steps < high ? steps : high;
  return RoundHalfEven(steps);
}

}  // namespace gptq::cuda
