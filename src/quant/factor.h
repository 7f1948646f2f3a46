// The damped, factored inverse of H: all that the column loop needs to know of the inputs. Linears that read
// the same input share one.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/thread_pool.h"
#include "quant/hessian.h"
#include "quant/order.h"

namespace gptq {

struct InverseFactor {
  ColumnOrder order;
  // U [columns, columns], row-major, in the order's positions; upper triangular (0 below):
  // UᵀU = ((H' + lambda I) / hessian_scale)⁻¹, H' being H with 1 on the diagonal of dead inputs.
  std::vector<float> upper;
  std::vector<uint8_t> dead;  // [columns]: inputs that are always zero; their weights count as 0
  double hessian_scale = 1;   // a power of two that keeps U near 1, whatever the scale of H
  double damping = 0;         // used, relative to the mean of the diagonal of H'
  double lambda = 0;          // = damping * that mean
  int attempts = 1;           // factorizations tried; above 1 `damping` was raised
  int64_t floored = 0;        // inputs whose diagonal entry had to be raised as well

  int64_t columns() const { return static_cast<int64_t>(order.columns.size()); }
};

// Raises the damping step by step while H is not positive definite (0 -> 0.0001, then doubled, at most 1).
// Where that does not suffice (no sum of x xᵀ is so), each diagonal entry is raised to the sum of its row's
// others. Absent where nothing helps or H is not finite: the caller rounds to nearest.
std::optional<InverseFactor> FactorInverse(const HessianView& hessian, ColumnOrder order, double damping,
                                           ThreadPool& pool);

// Inputs whose diagonal entry is 0.
std::vector<uint8_t> DeadInputs(const HessianView& hessian);
// Mean of the diagonal, dead inputs counting as 1.
double MeanDiagonal(const HessianView& hessian);

}  // namespace gptq
