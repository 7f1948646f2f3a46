#include <algorithm>

#include "base/error.h"
#include "compute/cuda/kernel.cuh"
#include "quant/cuda/solution.h"
#include "quant/cuda/substitution.cuh"

namespace gptq::cuda {
namespace {

constexpr int kTile = 32;  // a block transposes a square of so many elements
constexpr int kThreads = 256;

__global__ void TransposeIn(const float* weight, int64_t given_rows, int64_t columns, const int32_t* order,
                            const uint8_t* dead, int64_t rows, float* values) {
  __shared__ float tile[kTile][kTile + 1];
  WaitForPrevious();
  LetNextBegin();
  const int lane = threadIdx.x % kTile, line = threadIdx.x / kTile;
  const int64_t p = static_cast<int64_t>(blockIdx.x) * kTile, r = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t column = p + lane < columns ? order[p + lane] : -1;
  const bool read = column >= 0 && (dead == nullptr || dead[column] == 0);
  for (int k = line; k < kTile; k += kThreads / kTile)
    tile[k][lane] = read && r + k < given_rows ? weight[(r + k) * columns + column] : 0.0f;
  __syncthreads();
  for (int k = line; k < kTile; k += kThreads / kTile) {
    if (p + k < columns) values[(p + k) * rows + r + lane] = tile[lane][k];
  }
}

__global__ void TransposeOut(const uint8_t* values, int64_t columns, const int32_t* order, int64_t rows,
                             int64_t given_rows, uint8_t* out) {
  __shared__ uint8_t tile[kTile][kTile + 4];
  WaitForPrevious();
  LetNextBegin();
  const int lane = threadIdx.x % kTile, line = threadIdx.x / kTile;
  const int64_t p = static_cast<int64_t>(blockIdx.x) * kTile, r = static_cast<int64_t>(blockIdx.y) * kTile;
  for (int k = line; k < kTile; k += kThreads / kTile) {
    if (p + k < columns) tile[k][lane] = values[(p + k) * rows + r + lane];
  }
  __syncthreads();
  const int64_t column = p + lane < columns ? order[p + lane] : -1;
  for (int k = line; k < kTile; k += kThreads / kTile) {
    if (column >= 0 && r + k < given_rows) out[(r + k) * columns + column] = tile[lane][k];
  }
}

// to[p] = from[source[p]], of columns of so many words; a block copies one.
__global__ void CopyColumns(const uint32_t* from, const int32_t* source, int64_t words, uint32_t* to) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t p = blockIdx.x;
  const uint32_t* const in = from + source[p] * words;
  for (int64_t i = threadIdx.x; i < words; i += blockDim.x) to[p * words + i] = in[i];
}

__global__ void CountNotFinite(const float* values, int64_t count, int32_t* found) {
  WaitForPrevious();
  LetNextBegin();
  int32_t mine = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * kThreads)
    mine += !(fabsf(values[i]) <= 3.402823466e38f);
  if (mine > 0) atomicAdd(found, mine);
}

template <typename T>
void Permute(Device& device, const int32_t* source, int64_t columns, int64_t rows, DeviceArray<T>& array) {
  const DeviceArray<T> moved(device, columns * rows);
  const int64_t words = rows * static_cast<int64_t>(sizeof(T)) / 4;
  GPTQ_LAUNCH(device, CopyColumns, Geometry{.blocks_x = columns, .threads = kThreads},
              reinterpret_cast<const uint32_t*>(array.get()), source, words,
              reinterpret_cast<uint32_t*>(moved.get()));
  array = moved;
}

Geometry Tiles(int64_t columns, int64_t rows) {
  return {.blocks_x = CeilDivide(columns, kTile), .blocks_y = CeilDivide(rows, kTile), .threads = kThreads};
}

}  // namespace

void LoadColumns(Device& device, const float* weight, int64_t given_rows, int64_t columns,
                 const int32_t* order, const uint8_t* dead, int64_t rows, float* values) {
  GPTQ_LAUNCH(device, TransposeIn, Tiles(columns, rows), weight, given_rows, columns, order, dead, rows,
              values);
}

void Reorder(Device& device, const std::vector<int32_t>& columns, Solution& solution) {
  if (columns == solution.columns) return;
  const auto count = static_cast<int64_t>(columns.size());
  CHECK(solution.columns.size() == columns.size());
  std::vector<int32_t> position(columns.size()), source;
  for (size_t p = 0; p < columns.size(); ++p) position[solution.columns[p]] = static_cast<int32_t>(p);
  for (const int32_t column : columns) source.push_back(position[column]);
  const DeviceArray<int32_t> device_source(device, source);
  Permute(device, device_source.get(), count, solution.rows, solution.values);
  if (solution.codes.get() != nullptr)
    Permute(device, device_source.get(), count, solution.rows, solution.codes);
  solution.columns = columns;
}

void StoreCodes(Device& device, const Solution& solution, uint8_t* codes) {
  const auto columns = static_cast<int64_t>(solution.columns.size());
  const DeviceArray<int32_t> order(device, solution.columns);
  GPTQ_LAUNCH(device, TransposeOut, Tiles(columns, solution.given_rows), solution.codes.get(), columns,
              order.get(), solution.rows, solution.given_rows, codes);
}

bool AllFinite(Device& device, const float* values, int64_t count) {
  const DeviceArray<int32_t> found(device, 1);
  device.Zero(found.get(), sizeof(int32_t));
  GPTQ_LAUNCH(device, CountNotFinite,
              Geometry{.blocks_x = std::min<int64_t>(CeilDivide(count, kThreads), 4096), .threads = kThreads},
              values, count, found.get());
  return ToVector(device, found.get(), 1)[0] == 0;
}

}  // namespace gptq::cuda
