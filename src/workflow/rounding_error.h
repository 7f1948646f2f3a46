// What rounding a matrix to nearest in another type costs.
#pragma once

#include "base/dtype.h"
#include "base/tensor.h"
#include "base/thread_pool.h"

namespace gptq {

// sqrt(sum (rounded - value)² / sum value²) of a matrix of floats or blocks; 0 for one of zeros.
double RoundingError(const TensorView& matrix, DType type, ThreadPool& pool);

}  // namespace gptq
