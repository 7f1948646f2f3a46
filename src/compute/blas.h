// The dense linear algebra we borrow (OpenBLAS): every call runs on the calling thread alone, so that results
// do not depend on the number of threads; parallel callers split their work into fixed tiles (thread_pool.h).
// All matrices are row-major; `*_stride` is the distance between rows in elements.
#pragma once

#include <cstdint>
#include <string>

namespace gptq::blas {

// c[m, n] = alpha * op(a)[m, k] * op(b)[k, n] + beta * c, op = transpose where asked.
// b transposed is stored [n, k]: the layout of a linear's weight [outputs, inputs].
void Gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
          int64_t a_stride, const float* b, int64_t b_stride, float beta, float* c, int64_t c_stride);
void Gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha, const double* a,
          int64_t a_stride, const double* b, int64_t b_stride, double beta, double* c, int64_t c_stride);

// Upper triangle of c[n, n] += alpha * aᵀ a, a [k, n].
void Syrk(int64_t n, int64_t k, float alpha, const float* a, int64_t a_stride, float* c, int64_t c_stride);

// In place, lower triangle: a = L Lᵀ. Returns false where a is not (numerically) positive definite.
bool CholeskyLower(int64_t n, double* a, int64_t stride);
// In place, lower triangle: a = a⁻¹. Returns false where a diagonal element is zero.
bool InvertLower(int64_t n, double* a, int64_t stride);

// Kernel set that the library chose, "SkylakeX", "Haswell", ...
std::string CoreName();

}  // namespace gptq::blas
