// How much a quantized matrix changes its outputs.
#pragma once

#include "base/thread_pool.h"
#include "quant/hessian.h"
#include "quant/matrix.h"

namespace gptq {

struct LayerError {
  double loss = 0;            // tr((W-Q)(H + lambda I)(W-Q)ᵀ), dead columns of W - Q taken as 0
  double relative_error = 0;  // sqrt(tr((W-Q) H (W-Q)ᵀ) / tr(W H Wᵀ)); 0 where W H Wᵀ is 0
  double outputs = 0;         // tr(W H Wᵀ)
};

// In float64. All of W and Q are [rows, columns]; H need not be damped.
LayerError MeasureError(const ConstMatrixView& weight, const ConstMatrixView& quantized,
                        const HessianView& hessian, double lambda, ThreadPool& pool);

}  // namespace gptq
