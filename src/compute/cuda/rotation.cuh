// The rotation of one pair of a head's dimensions.
#pragma once

#include "compute/cuda/kernel.cuh"
#include "compute/cuda/vector_kernels.h"

namespace gptq::cuda {

__device__ inline int64_t Moved(const Position& position) {
  return position.now != nullptr ? *position.now - position.recorded : 0;
}

// `row`: after the rotation's first position. `head`: the head's first dimension.
__device__ inline void RotatePair(const Rotation& rotation, int64_t row, int64_t pair, float* head) {
  const int64_t place = (rotation.first.base + Moved(rotation.first) + row) * rotation.pairs + pair;
  float* const from = head + rotation.first_dimension;
  float& a = from[rotation.interleaved ? 2 * pair : pair];
  float& b = from[rotation.interleaved ? 2 * pair + 1 : pair + rotation.pairs];
  const float c = rotation.cosine[place], s = rotation.sine[place], old = a;
  a = old * c - b * s;
  b = b * c + old * s;
}

}  // namespace gptq::cuda
