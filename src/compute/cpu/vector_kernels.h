// Element-wise and row kernels, one table per instruction set. The arithmetic is written once
// (vector_kernels_generic.h) and compiled for each; results agree between instruction sets to round-off.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "compute/backend.h"
#include "compute/cpu/product_kernels.h"

namespace gptq {

// A row of logits and what turns them into probabilities: exp(x - maximum) * factor.
struct SoftmaxRow {
  const float* logits = nullptr;
  float maximum = 0;
  float factor = 0;
};

// Rows of keys or values as they are stored, their type known to whom they are given.
struct StoredRows {
  const void* data = nullptr;
  int64_t stride = 0;  // elements from row to row
  int64_t count = 0;
  int64_t width = 0;
};

// Of rows of one element type, for several queries of one head of keys at once: a query's results are those
// that it gets alone.
struct RowKernels {
  // scores[q * score_stride + k] = scale * dot(row q of `queries` [count, width], row k)
  void (*score)(const float* queries, int64_t count, const StoredRows& rows, float scale, float* scores,
                int64_t score_stride);
  // row q of out, out_stride apart = the sum of weights[q * weight_stride + k] * row k
  void (*sum)(const float* weights, int64_t weight_stride, int64_t count, const StoredRows& rows, float* out,
              int64_t out_stride);
};

struct VectorKernels {
  std::string_view isa;  // "portable", "avx2", "avx512"
  bool (*supported)();
  float (*dot)(const float* a, const float* b, int64_t n);
  float (*dot_half)(const uint16_t* a, const float* b, int64_t n);  // a: float16
  float (*dot_bfloat16)(const uint16_t* a, const float* b, int64_t n);
  RowKernels float_rows, half_rows, byte_rows;                            // float32, float16, signed bytes
  void (*add)(float* x, const float* y, int64_t n);                       // x += y
  void (*scale)(float* x, float factor, int64_t n);                       // x *= factor
  void (*add_scaled)(float* x, float factor, const float* y, int64_t n);  // x += factor * y
  float (*maximum)(const float* x, int64_t n);                            // n >= 1
  float (*exp_sum)(float* x, float maximum, int64_t n);            // x = exp(x - maximum); returns the sum
  double (*exp_sum_of)(const float* x, float maximum, int64_t n);  // sum of exp(x - maximum), x unchanged
  // Sum of p log(p / q). log_ratio: log p - log q where the logits are equal.
  double (*divergence)(const SoftmaxRow& p, const SoftmaxRow& q, float log_ratio, int64_t n);
  void (*rms_norm)(const float* x, const float* weight, float epsilon, float* y,
                   int64_t n);  // weight may be null
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float epsilon, float* y,
                     int64_t n);
  void (*activate)(ActivationKind kind, float* x, int64_t n);
  void (*multiply)(float* x, const float* y, int64_t n);  // x *= y
  // Pairs (x[i], x[i + pairs]) turned by the angles of one position.
  void (*rotate)(float* x, const float* cosine, const float* sine, int64_t pairs);
  // Pairs (x[2 i], x[2 i + 1]).
  void (*rotate_interleaved)(float* x, const float* cosine, const float* sine, int64_t pairs);
  void (*softcap)(float* x, float cap, int64_t n);  // x = cap * tanh(x / cap)
  ProductKernels product;
  // A step of a running softmax (Milakov and Gimelshein 2018): scores [rows, right_width] holds logarithms to
  // base 2, a column for each query, of which query q sees the rows before seen + q. Replaces them by
  // 2^(score - maximum), 0 where not seen, and brings maximum and sum of each column up to date. correction:
  // what earlier sums are to be multiplied with; returns the least of it.
  float (*softmax_columns)(float* scores, int64_t rows, int64_t seen, float* maximum, float* sum,
                           float* correction);
  void (*scale_columns)(float* x, int64_t rows, const float* factor);  // x [rows, right_width] *= factor
  // For measuring: independent chains of x = x * values[1] + values[2] that begin near values[0], in
  // registers; leaves their sum in values[0] and returns how many floating-point operations that took.
  double (*multiply_adds)(float* values, int64_t steps);

  const RowKernels& rows(DType type) const {
    CHECK(type == DType::kF32 || type == DType::kF16 || type == DType::kI8);
    return type == DType::kF32 ? float_rows : type == DType::kF16 ? half_rows : byte_rows;
  }
};

// Every table compiled in, best first.
std::span<const VectorKernels* const> AllVectorKernels();
// The best supported one, or the one that is named; throws Error for a name that is unknown or not supported.
const VectorKernels& SelectVectorKernels(std::string_view isa);
// The one that GPTQ_ISA names in the environment, else the best supported one.
const VectorKernels& DefaultVectorKernels();
// GPTQ_ISA, or "".
std::string RequestedIsa();

}  // namespace gptq
