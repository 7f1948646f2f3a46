// Activation functions, of one value.
#pragma once

#include "compute/backend.h"
#include "compute/cuda/kernel.cuh"

namespace gptq::cuda {

__device__ inline float Sigmoid(float x) {
  const float e = expf(-fabsf(x));
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}

__device__ inline float Activated(ActivationKind kind, float x) {
  const float positive = x > 0 ? x : 0.0f;
  switch (kind) {
    case ActivationKind::kSilu:
      return x * Sigmoid(x);
    case ActivationKind::kRelu:
      return positive;
    case ActivationKind::kReluSquared:
      return positive * positive;
    case ActivationKind::kGeluTanh:
      return x * Sigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x));
    default:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  }
}

}  // namespace gptq::cuda
