// A solution in the device's memory while it is made.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/cuda/device_array.h"
#include "quant/cuda/solver.h"

namespace gptq::cuda {

struct Solution {
  int64_t rows = 0;              // filled up, see PaddedRows
  int64_t given_rows = 0;        // of the weight
  std::vector<int32_t> columns;  // [positions]: which column lies where
  DeviceArray<float> values;     // [positions][rows]
  DeviceArray<uint8_t> codes;    // the same shape
  DeviceArray<float> scales;     // [groups][rows]
  DeviceArray<float> zeros;
};

// values[p * rows + r] = weight[r][columns[p]] of a weight [given_rows, columns] on the device; 0 beyond the
// given rows and in columns that `dead` (may be null) marks. `columns`: on the device.
void LoadColumns(Device& device, const float* weight, int64_t given_rows, int64_t columns,
                 const int32_t* order, const uint8_t* dead, int64_t rows, float* values);
// Values, and codes if there are any, so that `columns` lie in this order.
void Reorder(Device& device, const std::vector<int32_t>& columns, Solution& solution);
// Row-major [given_rows, columns], on the device.
void StoreCodes(Device& device, const Solution& solution, uint8_t* codes);
bool AllFinite(Device& device, const float* values, int64_t count);

// The column loop from `solution.values`, the weights in the metric's order; they become Q. Returns sum of e²
// over all rows, in units of the factor.
double RunColumnLoop(const Metric& metric, const SolverOptions& options, Solution& solution);

// options.refits and options.sweeps of a finished solution; its columns come to lie in the order of the
// metric's refinement. `weight`: what the solution approximates, row-major on the device.
void Refine(Metric& metric, const SolverOptions& options, const float* weight, Solution& solution);

// Of W - Q and of W, columns [columns][rows] in H's order: the sums of x H xᵀ; and of the squares of W - Q
// outside of dead columns.
struct ErrorSums {
  double error = 0, outputs = 0, difference = 0;
};
// `weight` is left; `values` becomes W - Q.
ErrorSums SumErrors(const Metric& metric, const float* weight, int64_t rows, float* values);

}  // namespace gptq::cuda
