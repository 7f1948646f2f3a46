// The loop over columns that each depend on the ones before, one row of the matrix per thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "compute/cuda/kernel.cuh"

namespace gptq::cuda {

// Matrices of the solver lie column by column [columns][rows], the rows filled up with zeros to a multiple of
// this, so that neighbouring threads read neighbouring elements.
constexpr int kRowThreads = 128;
constexpr int kPanelColumns = 16;  // whose sums a thread holds in registers

inline int64_t PaddedRows(int64_t rows) { return CeilDivide(rows, kRowThreads) * kRowThreads; }

// Of shared memory that Substitute needs for `count` columns with so many threads.
inline int64_t SubstitutionBytes(int64_t count, int64_t threads = kRowThreads) {
  return (CeilDivide(count, kPanelColumns) * kPanelColumns * kPanelColumns + count * threads) *
         static_cast<int64_t>(sizeof(float));
}

// For j from 0: x_j = solve(j, start_j - sum over i < j of M_ij x_i, M_jj). `matrix`: M_00, rows `stride`
// elements apart, of which the upper triangle is read. `start`: the thread's row of the first column, columns
// `rows` elements apart. All threads of a block of kThreads call it.
template <int kThreads, typename Solve>
__device__ void Substitute(int count, const float* matrix, int64_t stride, const float* start, int64_t rows,
                           const Solve& solve) {
  float* const panel = SharedMemory<float>();  // M's rows so far at these columns
  float* const x =
      panel + (count + kPanelColumns - 1) / kPanelColumns * kPanelColumns * kPanelColumns + threadIdx.x;
  for (int first = 0; first < count; first += kPanelColumns) {
    const int width = count - first < kPanelColumns ? count - first : kPanelColumns;
    float sums[kPanelColumns];
#pragma unroll
    for (int j = 0; j < kPanelColumns; ++j) sums[j] = j < width ? start[(first + j) * rows] : 0.0f;
    __syncthreads();
#pragma unroll 4
    for (int k = threadIdx.x; k < (first + width) * kPanelColumns; k += kThreads) {
      const int i = k / kPanelColumns, j = k % kPanelColumns;
      panel[k] = j < width ? matrix[i * stride + first + j] : 0.0f;
    }
    __syncthreads();
#pragma unroll 4
    for (int i = 0; i < first; ++i) {
      const float known = x[i * kThreads];
      const float4* const factors = reinterpret_cast<const float4*>(panel + i * kPanelColumns);
#pragma unroll
      for (int j = 0; j < kPanelColumns; j += 4) {
        const float4 f = factors[j / 4];
        sums[j] -= f.x * known;
        sums[j + 1] -= f.y * known;
        sums[j + 2] -= f.z * known;
        sums[j + 3] -= f.w * known;
      }
    }
#pragma unroll
    for (int j = 0; j < kPanelColumns; ++j) {
      if (j >= width) continue;
      const float* const factors = panel + (first + j) * kPanelColumns;
      const float solved = solve(first + j, sums[j], factors[j]);
      x[(first + j) * kThreads] = solved;
#pragma unroll
      for (int k = j + 1; k < kPanelColumns; ++k) sums[k] -= factors[k] * solved;
    }
  }
}

}  // namespace gptq::cuda
