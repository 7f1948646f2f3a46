#include <algorithm>

#include "base/error.h"
#include "compute/cuda/activation.cuh"
#include "compute/cuda/kernel.cuh"
#include "compute/cuda/rotation.cuh"
#include "compute/cuda/vector_kernels.h"

namespace gptq::cuda {
namespace {

constexpr int64_t kMostBlocksY = 65535;

__device__ int64_t ThreadIndex() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

__global__ void StorePosition(int32_t* place, int32_t position) {
  WaitForPrevious();
  *place = position;
}

// A block makes one row.
__global__ void NormRows(bool rms, float epsilon, const float* x, int64_t columns, const float* weight,
                         int64_t weight_rows, const float* bias, int64_t bias_rows, float* y) {
  __shared__ float shared[32];
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = blockIdx.x;
  const float* const in = x + row * columns;
  const auto n = static_cast<float>(columns);
  float mean = 0;
  if (!rms) {
    float sum = 0;
    for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) sum += in[i];
    mean = BlockSum(sum, shared) / n;
  }
  float squares = 0;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) squares += (in[i] - mean) * (in[i] - mean);
  const float factor = 1.0f / sqrtf(BlockSum(squares, shared) / n + epsilon);
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
    const float w = weight != nullptr ? weight[row % weight_rows * columns + i] : 1.0f;
    const float b = bias != nullptr ? bias[row % bias_rows * columns + i] : 0.0f;
    y[row * columns + i] = (in[i] - mean) * factor * w + b;
  }
}

__global__ void RotateRows(Rotation rotation, int64_t sequence_tokens, float* x, int64_t columns,
                           int64_t first_row) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t index = ThreadIndex(), row = first_row + blockIdx.y;
  if (index >= columns / rotation.head_dim * rotation.pairs) return;
  float* const head = x + row * columns + index / rotation.pairs * rotation.head_dim;
  RotatePair(rotation, row % sequence_tokens, index % rotation.pairs, head);
}

__global__ void ActivateAll(ActivationKind kind, float* x, const float* factor, int64_t count) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t i = ThreadIndex();
  if (i < count) x[i] = Activated(kind, x[i]) * (factor != nullptr ? factor[i] : 1.0f);
}

__global__ void AddAll(float* x, const float* y, int64_t count) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t i = ThreadIndex();
  if (i < count) x[i] += y[i];
}

enum class Change { kScale, kClamp, kSoftcap };

__global__ void ChangeAll(Change change, float* x, float by, int64_t count) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t i = ThreadIndex();
  if (i >= count) return;
  const float v = x[i];
  if (change == Change::kScale) x[i] = v * by;
  if (change == Change::kClamp) x[i] = v < -by ? -by : v > by ? by : v;
  if (change == Change::kSoftcap) x[i] = by * tanhf(v / by);
}

__global__ void CopyPieces(const float* from, int64_t from_columns, ColumnPieces source, float* to,
                           int64_t to_columns, ColumnPieces destination, int64_t pieces, int64_t width) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t index = ThreadIndex(), row = blockIdx.y;
  if (index >= pieces * width) return;
  const int64_t piece = index / width, column = index % width;
  to[row * to_columns + destination.first + piece * destination.stride + column] =
      from[row * from_columns + source.first + piece * source.stride + column];
}

__global__ void Gather(const float* from, const int32_t* rows, int64_t columns, float* to) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t column = ThreadIndex(), row = blockIdx.y;
  if (column < columns) to[row * columns + column] = from[rows[row] * columns + column];
}

__global__ void ScatterAdd(float* x, const int32_t* rows, const float* factors, int64_t columns,
                           const float* y) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t column = ThreadIndex(), row = blockIdx.y;
  if (column < columns) x[rows[row] * columns + column] += factors[row] * y[row * columns + column];
}

// Of a block's threads, in the same order every time.
__device__ double BlockSumWide(double x, double* shared) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  __syncthreads();
  if (lane == 0) shared[warp] = x;
  __syncthreads();
  double sum = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x) / 32; ++w) sum += shared[w];
  return sum;
}

__device__ float RowMaximum(const float* row, int64_t columns, float* shared) {
  float maximum = -INFINITY;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) maximum = fmaxf(maximum, row[i]);
  return BlockMaximum(maximum, shared);
}

// log of the sum of exp(row - maximum)
__device__ double RowLogSum(const float* row, float maximum, int64_t columns, double* shared) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x)
    sum += static_cast<double>(expf(row[i] - maximum));
  return log(BlockSumWide(sum, shared));
}

__global__ void RowLikelihoods(const float* logits, int64_t columns, const int32_t* targets, double* out) {
  __shared__ float shared[32];
  __shared__ double wide[32];
  WaitForPrevious();
  LetNextBegin();
  const float* const row = logits + blockIdx.x * columns;
  const float maximum = RowMaximum(row, columns, shared);
  const double log_sum = RowLogSum(row, maximum, columns, wide) + static_cast<double>(maximum);
  if (threadIdx.x == 0) out[blockIdx.x] = log_sum - static_cast<double>(row[targets[blockIdx.x]]);
}

// The first place of the maximum, as a float64 that is exact.
__device__ double FirstPlace(const float* row, float maximum, int64_t columns, double* shared) {
  double place = static_cast<double>(columns);
  for (int64_t i = columns - 1 - threadIdx.x; i >= 0; i -= blockDim.x) {
    if (row[i] == maximum) place = static_cast<double>(i);
  }
  for (int step = 16; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, place, step);
    place = other < place ? other : place;
  }
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  __syncthreads();
  if (lane == 0) shared[warp] = place;
  __syncthreads();
  for (int w = 0; w < static_cast<int>(blockDim.x) / 32; ++w) place = shared[w] < place ? shared[w] : place;
  return place;
}

// See DivergenceTerm of the processor's kernels: terms that are never negative and do not cancel.
__global__ void RowDivergences(const float* reference, const float* logits, int64_t columns, double* out) {
  __shared__ float shared[32];
  __shared__ double wide[32];
  WaitForPrevious();
  LetNextBegin();
  const float *const a = reference + blockIdx.x * columns, *const b = logits + blockIdx.x * columns;
  const float max_a = RowMaximum(a, columns, shared), max_b = RowMaximum(b, columns, shared);
  const double log_a = RowLogSum(a, max_a, columns, wide), log_b = RowLogSum(b, max_b, columns, wide);
  const double log_ratio = log_b + static_cast<double>(max_b) - (log_a + static_cast<double>(max_a));
  double sum = 0;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
    const double p = exp(static_cast<double>(a[i] - max_a) - log_a);
    const double t = (static_cast<double>(a[i]) - static_cast<double>(b[i])) + log_ratio;
    sum += p * (t + expm1(-t));
  }
  const double divergence = BlockSumWide(sum, wide);
  const bool same = FirstPlace(a, max_a, columns, wide) == FirstPlace(b, max_b, columns, wide);
  if (threadIdx.x == 0) {
    out[2 * blockIdx.x] = divergence;
    out[2 * blockIdx.x + 1] = same ? 1 : 0;
  }
}

// launch(first, count) for parts of `rows` that a grid's second dimension can count.
template <typename Body>
void ForRowParts(int64_t rows, const Body& launch) {
  for (int64_t row = 0; row < rows; row += kMostBlocksY) launch(row, std::min(kMostBlocksY, rows - row));
}

void LaunchChange(Device& device, Change change, float* x, float by, int64_t count) {
  GPTQ_LAUNCH(device, ChangeAll, Geometry{CeilDivide(count, 256)}, change, x, by, count);
}

}  // namespace

void SetPosition(Device& device, int32_t* place, int64_t position) {
  GPTQ_LAUNCH(device, StorePosition, (Geometry{1, 1, 1, 1}), place, static_cast<int32_t>(position));
}

void Norm(Device& device, NormKind kind, float epsilon, MatrixView x, const float* weight,
          int64_t weight_rows, const float* bias, int64_t bias_rows, float* y) {
  const int threads = x.columns >= 4096 ? 1024 : x.columns >= 512 ? 256 : 64;
  GPTQ_LAUNCH(device, NormRows, (Geometry{x.rows, 1, 1, threads}), kind == NormKind::kRms, epsilon, x.data,
              x.columns, weight, weight_rows, bias, bias_rows, y);
}

void Rotate(Device& device, const Rotation& rotation, int64_t sequence_tokens, MatrixView x) {
  const int64_t pairs = x.columns / rotation.head_dim * rotation.pairs;
  ForRowParts(x.rows, [&](int64_t row, int64_t count) {
    GPTQ_LAUNCH(device, RotateRows, (Geometry{CeilDivide(pairs, 128), count, 1, 128}), rotation,
                sequence_tokens, x.data, x.columns, row);
  });
}

void Activate(Device& device, ActivationKind kind, float* x, const float* factor, int64_t count) {
  GPTQ_LAUNCH(device, ActivateAll, Geometry{CeilDivide(count, 256)}, kind, x, factor, count);
}

void Add(Device& device, float* x, const float* y, int64_t count) {
  GPTQ_LAUNCH(device, AddAll, Geometry{CeilDivide(count, 256)}, x, y, count);
}

void Scale(Device& device, float* x, float factor, int64_t count) {
  LaunchChange(device, Change::kScale, x, factor, count);
}

void Clamp(Device& device, float* x, float limit, int64_t count) {
  LaunchChange(device, Change::kClamp, x, limit, count);
}

void Softcap(Device& device, float* x, float cap, int64_t count) {
  LaunchChange(device, Change::kSoftcap, x, cap, count);
}

void CopyColumns(Device& device, MatrixView from, ColumnPieces source, MatrixView to,
                 ColumnPieces destination, int64_t pieces, int64_t width) {
  ForRowParts(from.rows, [&](int64_t row, int64_t count) {
    GPTQ_LAUNCH(device, CopyPieces, (Geometry{CeilDivide(pieces * width, 256), count}),
                from.data + row * from.columns, from.columns, source, to.data + row * to.columns, to.columns,
                destination, pieces, width);
  });
}

void GatherRows(Device& device, MatrixView from, const int32_t* rows, MatrixView to) {
  ForRowParts(to.rows, [&](int64_t row, int64_t count) {
    GPTQ_LAUNCH(device, Gather, (Geometry{CeilDivide(to.columns, 256), count}), from.data, rows + row,
                to.columns, to.data + row * to.columns);
  });
}

void AddToRows(Device& device, MatrixView x, const int32_t* rows, const float* factors, MatrixView y) {
  ForRowParts(y.rows, [&](int64_t row, int64_t count) {
    GPTQ_LAUNCH(device, ScatterAdd, (Geometry{CeilDivide(y.columns, 256), count}), x.data, rows + row,
                factors + row, y.columns, y.data + row * y.columns);
  });
}

void NegativeLogLikelihood(Device& device, MatrixView logits, const int32_t* targets, double* out) {
  GPTQ_LAUNCH(device, RowLikelihoods, Geometry{logits.rows}, logits.data, logits.columns, targets, out);
}

void CompareLogits(Device& device, MatrixView reference, MatrixView logits, double* out) {
  GPTQ_LAUNCH(device, RowDivergences, Geometry{logits.rows}, reference.data, logits.data, logits.columns,
              out);
}

}  // namespace gptq::cuda
