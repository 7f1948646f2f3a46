// Asymmetric calibration: aims at the outputs of the unquantized model instead of those that the unquantized
// weights have on inputs that quantization has changed already (GPTAQ, arXiv 2504.02692; Qronos, arXiv
// 2505.11695), and lets the linears that end a branch bring back what the residual stream has lost before
// them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/thread_pool.h"
#include "quant/factor.h"
#include "quant/matrix.h"

namespace gptq {

// 2 / tokens * sum over tokens of (f - q) xᵀ, [rows, columns]: x a linear's input in the quantized model; f
// and q the same vector of the same token in the unquantized and in the quantized model.
class DifferenceMoment {
 public:
  DifferenceMoment(int64_t rows, int64_t columns);

  // `unquantized` and `quantized` [tokens, rows], `input` [tokens, columns], contiguous.
  void Add(const float* unquantized, const float* quantized, const float* input, int64_t tokens,
           ThreadPool& pool);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  const float* sum() const { return sum_.data(); }  // not divided yet
  double scale() const { return 2.0 / static_cast<double>(tokens_ > 0 ? tokens_ : 1); }

 private:
  int64_t rows_, columns_;
  int64_t tokens_ = 0;
  std::vector<float> difference_;  // [kChunkTokens, rows]
  std::vector<float> sum_;
};

// What a linear should aim at.
struct TargetShift {
  double input_share = 0;                    // alpha
  std::optional<DifferenceMoment> input;     // C, of the input itself
  double residual_share = 0;                 // beta
  std::optional<DifferenceMoment> residual;  // E, of the residual stream that the outputs are added to

  // W + (alpha W C + beta E) (H + lambda I)⁻¹ [rows, columns]: at alpha = beta = 1 the least-squares solution
  // of h + W' x = h_f + W f, with h the residual stream before the linear's outputs are added.
  std::vector<float> Target(const ConstMatrixView& weight, const InverseFactor& factor,
                            ThreadPool& pool) const;
};

}  // namespace gptq
