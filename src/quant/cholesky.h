// Cholesky factor and triangular inverse on all threads; tiles are fixed by n, so that results do not depend
// on the number of threads.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace gptq {

// In place on the lower triangle of the row-major a [n, n]: a = L Lᵀ. False where a is not (numerically)
// positive definite. What stands above the diagonal is neither read nor kept.
bool Cholesky(int64_t n, double* a, ThreadPool& pool);

// In place: L = L⁻¹, L lower with positive diagonal. The rest is neither read nor kept.
void InvertTriangle(int64_t n, double* l, ThreadPool& pool);

}  // namespace gptq
