// What the descent over a finished solution reads of H; quant/refine.h's RefineMetric.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/cuda/device_array.h"
#include "quant/cuda/solver.h"

namespace gptq::cuda {

struct Metric::Refinement {
  std::vector<int32_t> columns;  // those of a group side by side
  std::vector<int64_t> begins;   // [groups + 1]: where each group begins in `columns`
  DeviceArray<float> values;     // H + lambda I [columns, columns], symmetric, in that order
  DeviceArray<double> sums;      // [columns]: of each row of its group's block
};

}  // namespace gptq::cuda
