// Asymmetric calibration: aims at the outputs of the unquantized model instead of those that the unquantized
// weights have on inputs that quantization has changed already (GPTAQ, arXiv 2504.02692; Qronos, arXiv
// 2505.11695).
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "quant/factor.h"
#include "quant/matrix.h"

namespace gptq {

// C = 2 / tokens * sum over tokens of (f - x) xᵀ: x the input as the quantized model has it, f the same
// token's input in the unquantized one.
class InputShift {
 public:
  explicit InputShift(int64_t columns);

  // `unquantized` and `quantized` [tokens, columns], contiguous.
  void Add(const float* unquantized, const float* quantized, int64_t tokens, ThreadPool& pool);

  // W + alpha W C (H + lambda I)⁻¹ [rows, columns]: at alpha = 1 the least-squares solution of W f = W' x.
  std::vector<float> Target(const ConstMatrixView& weight, const InverseFactor& factor, double alpha,
                            ThreadPool& pool) const;

 private:
  int64_t columns_;
  int64_t tokens_ = 0;
  std::vector<float> difference_;  // [kChunkTokens, columns]
  std::vector<float> sum_;         // [columns, columns]
};

}  // namespace gptq
