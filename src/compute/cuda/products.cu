#include <algorithm>

#include "base/error.h"
#include "compute/cuda/activation.cuh"
#include "compute/cuda/packed_layout.cuh"
#include "compute/cuda/products.h"

namespace gptq::cuda {
namespace {

constexpr int kWarps = 8;                          // of a block of the product
constexpr float kGreatestInput = 127 * 256 + 127;  // of the integers that inputs are rounded to

struct InputScale {
  float scale;
  int sum;
};

// NaN is greater than all.
__device__ inline float Greater(float a, float b) { return a > b || a != a ? a : b; }

// A warp rounds a segment of a row. Input k of a unit and plane p (the high byte, then the low one) is byte k
// % 4 of register k / 16 of lane 4 (2 (row % 4) + p) + k % 16 / 4 in the unit's fragment of the row's four. A
// lane's fragments of a chunk lie together.
__global__ void RoundInputs(const float* x, int64_t columns, const int32_t* places, int segment_units,
                            int64_t segments, int8_t* fragments, InputScale* scales) {
  WaitForPrevious();
  LetNextBegin();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t segment = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  const int64_t row = blockIdx.y;
  if (segment >= segments) return;
  float values[kChunkUnits];
  float greatest = 0;
#pragma unroll
  for (int u = 0; u < kChunkUnits; ++u) {
    if (u >= segment_units) break;
    const int64_t place = (segment * segment_units + u) * kUnitInputs + lane;
    const int64_t column = places != nullptr ? places[place] : place < columns ? place : -1;
    values[u] = column >= 0 ? x[row * columns + column] : 0.0f;
    greatest = Greater(fabsf(values[u]), greatest);
  }
  for (int step = 16; step > 0; step /= 2)
    greatest = Greater(__shfl_xor_sync(0xffffffffu, greatest, step), greatest);
  const float factor = greatest > 0 ? kGreatestInput / greatest : 0.0f;  // 0 of NaN
  int sum = 0;
#pragma unroll
  for (int u = 0; u < kChunkUnits; ++u) {
    if (u >= segment_units) break;
    const int q = __float2int_rn(values[u] * factor);
    sum += q;
    const int high = (q + 128) >> 8, low = q - high * 256;
    const int64_t unit = segment * segment_units + u;
    const int64_t chunk = row / 4 * (segments * segment_units / kChunkUnits) + unit / kChunkUnits;
    int8_t* const place = fragments + (chunk * 32 + row % 4 * 8 + lane % 16 / 4) * 32 +
                          unit % kChunkUnits * 8 + lane / 16 * 4 + lane % 4;
    place[0] = static_cast<int8_t>(high);
    place[4 * 32] = static_cast<int8_t>(low);
  }
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (lane == 0) scales[row * segments + segment] = {greatest / kGreatestInput, sum};
}

struct PackedPart {
  const std::byte* codes;
  const void* scales;
  const uint8_t* zeros;
  const float* bias;
  float* y;
  int64_t groups;
  int rows, first_tile, zero;
  bool half_scales;
};

struct PackedParts {
  PackedPart parts[kMostProducts];
  int count;
};

__device__ inline int PartOf(const PackedParts& all, int tile) {
  int part = 0;
  while (part + 1 < all.count && tile >= all.parts[part + 1].first_tile) ++part;
  return part;
}

// The scales of a chunk's segments, for two outputs.
template <int kSegments>
struct ChunkScales {
  float scale[kSegments][2];
  int zero[kSegments][2];

  __device__ void Load(const PackedPart& part, int64_t first, const int32_t* groups) {
#pragma unroll
    for (int s = 0; s < kSegments; ++s) {
      const int64_t index = first + groups[s] * kTileRows;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        scale[s][i] = ScaleAt(part.scales, part.half_scales, index + 8 * i);
        zero[s][i] = part.zeros != nullptr ? part.zeros[index + 8 * i] : part.zero;
      }
    }
  }
};

// A block multiplies one tile of outputs; its warps share the chunks. kFours: rows of inputs by four; kUnits:
// of a segment.
template <int kBits, int kUnits, int kFours>
__global__ void __launch_bounds__(kWarps * 32)
    MultiplyTiles(PackedParts all, int chunks, const int32_t* segment_groups, const uint4* fragments,
                  const InputScale* input_scales, int rows) {
  __shared__ float partial[kWarps][kTileRows][4 * kFours];
  constexpr int kSegments = kChunkUnits / kUnits;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const PackedPart& part = all.parts[PartOf(all, static_cast<int>(blockIdx.x))];
  const int tile = static_cast<int>(blockIdx.x) - part.first_tile, segments = chunks * kSegments;
  const std::byte* const codes = part.codes + static_cast<int64_t>(tile) * chunks * ChunkBytes(kBits);
  const int64_t first_scale = static_cast<int64_t>(tile) * part.groups * kTileRows + lane / 4;
  float sums[kFours][2] = {};
  ChunkWords<kBits> next;
  ChunkScales<kSegments> next_scales;
  // Weights never change: the first ones come while the kernel before still runs.
  if (warp < chunks) {
    next.Load(codes + warp * ChunkBytes(kBits), lane);
    next_scales.Load(part, first_scale, segment_groups + warp * kSegments);
  }
  WaitForPrevious();
  LetNextBegin();
  for (int chunk = warp; chunk < chunks; chunk += kWarps) {
    const ChunkWords<kBits> words = next;
    const ChunkScales<kSegments> scales = next_scales;
    if (chunk + kWarps < chunks) {
      next.Load(codes + (chunk + kWarps) * ChunkBytes(kBits), lane);
      next_scales.Load(part, first_scale, segment_groups + (chunk + kWarps) * kSegments);
    }
    uint4 inputs[kFours][2];
    InputScale of_inputs[kFours][kSegments];
#pragma unroll
    for (int four = 0; four < kFours; ++four) {
      inputs[four][0] = inputs[four][1] = uint4{0, 0, 0, 0};
      if (lane < 8 * (rows - 4 * four)) {
        const uint4* const place = fragments + ((four * chunks + chunk) * 32 + lane) * 2;
        inputs[four][0] = place[0];
        inputs[four][1] = place[1];
      }
      const int row = 4 * four + lane % 4;
#pragma unroll
      for (int s = 0; s < kSegments; ++s) {
        of_inputs[four][s] = InputScale{0, 0};
        if (row < rows) of_inputs[four][s] = input_scales[row * segments + chunk * kSegments + s];
      }
    }
    int products[kFours][4] = {};
#pragma unroll
    for (int unit = 0; unit < kChunkUnits; ++unit) {
      uint32_t registers[4];
      words.Unpack(unit, registers);
#pragma unroll
      for (int four = 0; four < kFours; ++four) {
        const uint4& pair = inputs[four][unit / 2];
        MultiplyBytes(products[four], registers,
                      unit % 2 == 0 ? uint2{pair.x, pair.y} : uint2{pair.z, pair.w});
      }
      if ((unit + 1) % kUnits != 0) continue;
      const int s = unit / kUnits;
      constexpr int kOdd = OddFactor(kBits);
#pragma unroll
      for (int four = 0; four < kFours; ++four) {
        int(&c)[4] = products[four];
        const InputScale& input = of_inputs[four][s];
        const int zero0 = scales.zero[s][0], zero1 = scales.zero[s][1] * kOdd;
        sums[four][0] +=
            scales.scale[s][0] * input.scale * static_cast<float>(c[0] * 256 + c[1] - zero0 * input.sum);
        sums[four][1] += scales.scale[s][1] * (1.0f / kOdd) * input.scale *
                         static_cast<float>(c[2] * 256 + c[3] - zero1 * input.sum);
        c[0] = c[1] = c[2] = c[3] = 0;
      }
    }
  }
#pragma unroll
  for (int four = 0; four < kFours; ++four) {
    partial[warp][lane / 4][4 * four + lane % 4] = sums[four][0];
    partial[warp][lane / 4 + 8][4 * four + lane % 4] = sums[four][1];
  }
  __syncthreads();
  const int output = static_cast<int>(threadIdx.x) % kTileRows,
            row = static_cast<int>(threadIdx.x) / kTileRows;
  const int weight_row = tile * kTileRows + output;
  if (row >= rows || weight_row >= part.rows) return;
  float sum = part.bias != nullptr ? part.bias[weight_row] : 0.0f;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) sum += partial[w][output][row];
  part.y[static_cast<int64_t>(row) * part.rows + weight_row] = sum;
}

// Fusion for kernels.
struct FusedRow {
  const float* x;
  const float* norm_weight;
  const float* norm_bias;
  float* add;
  float epsilon;
  int columns;
  bool norm, rms, activate;
  ActivationKind activation;
};

// What a block needs of its row for the norm.
struct RowNorm {
  float mean = 0, factor = 1;

  __device__ void Find(const FusedRow& row, float* shared) {
    if (!row.norm) return;
    const auto n = static_cast<float>(row.columns);
    if (!row.rms) {
      float sum = 0;
      for (int i = static_cast<int>(threadIdx.x); i < row.columns; i += static_cast<int>(blockDim.x))
        sum += row.x[i];
      mean = BlockSum(sum, shared) / n;
    }
    float squares = 0;
    for (int i = static_cast<int>(threadIdx.x); i < row.columns; i += static_cast<int>(blockDim.x))
      squares += (row.x[i] - mean) * (row.x[i] - mean);
    factor = 1.0f / sqrtf(BlockSum(squares, shared) / n + row.epsilon);
  }
  // Four neighbours; columns are a multiple of four. Zeros beyond them.
  __device__ void Load(const FusedRow& row, int column, float (&values)[4]) const {
    float4 v{0, 0, 0, 0}, w{1, 1, 1, 1}, b{0, 0, 0, 0};
    if (column < row.columns) {
      v = *reinterpret_cast<const float4*>(row.x + column);
      if (row.norm) {
        if (row.norm_weight != nullptr) w = *reinterpret_cast<const float4*>(row.norm_weight + column);
        if (row.norm_bias != nullptr) b = *reinterpret_cast<const float4*>(row.norm_bias + column);
        v = {(v.x - mean) * factor * w.x + b.x, (v.y - mean) * factor * w.y + b.y,
             (v.z - mean) * factor * w.z + b.z, (v.w - mean) * factor * w.w + b.w};
      }
    }
    values[0] = v.x, values[1] = v.y, values[2] = v.z, values[3] = v.w;
  }
};

// Four neighbours of each lane, rounded as RoundInputs does it: their high and low bytes, and the segment's
// scale and sum in all of its lanes.
template <int kUnits>
struct RoundedChunk {
  uint32_t high = 0, low = 0;
  InputScale of_segment{0, 0};

  __device__ explicit RoundedChunk(const float (&values)[4]) {
    float greatest = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) greatest = Greater(fabsf(values[i]), greatest);
#pragma unroll
    for (int step = 1; step < 8 * kUnits; step *= 2)
      greatest = Greater(__shfl_xor_sync(0xffffffffu, greatest, step), greatest);
    const float factor = greatest > 0 ? kGreatestInput / greatest : 0.0f;
    int sum = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int q = __float2int_rn(values[i] * factor), upper = (q + 128) >> 8;
      sum += q;
      high |= (static_cast<uint32_t>(upper) & 255) << (8 * i);
      low |= (static_cast<uint32_t>(q - upper * 256) & 255) << (8 * i);
    }
#pragma unroll
    for (int step = 1; step < 8 * kUnits; step *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    of_segment = {greatest / kGreatestInput, sum};
  }
  // A unit's fragment: of the high bytes in lanes 0 to 3, of the low ones in the next four, zeros behind.
  __device__ uint2 Fragment(int unit, int lane) const {
    uint2 fragment{0, 0};
    const int source = 8 * unit + lane % 4;
    const uint32_t high0 = __shfl_sync(0xffffffffu, high, source);
    const uint32_t low0 = __shfl_sync(0xffffffffu, low, source);
    const uint32_t high1 = __shfl_sync(0xffffffffu, high, source + 4);
    const uint32_t low1 = __shfl_sync(0xffffffffu, low, source + 4);
    if (lane < 8) fragment = lane < 4 ? uint2{high0, high1} : uint2{low0, low1};
    return fragment;
  }
  __device__ InputScale Segment(int segment) const {
    if (kUnits == kChunkUnits) return of_segment;
    return {__shfl_sync(0xffffffffu, of_segment.scale, segment * 8 * kUnits),
            __shfl_sync(0xffffffffu, of_segment.sum, segment * 8 * kUnits)};
  }
};

// As MultiplyTiles, of one row that is normed and rounded here. kTiles 2: the same tile of two matrices,
// which are then put together by an activation.
template <int kBits, int kUnits, int kTiles>
__global__ void __launch_bounds__(kWarps * 32)
    MultiplyTilesFused(PackedParts all, int chunks, const int32_t* segment_groups, FusedRow row) {
  __shared__ float partial[kWarps][kTiles][kTileRows];
  __shared__ float shared[32];
  constexpr int kSegments = kChunkUnits / kUnits;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int first_part = kTiles == 2 ? 0 : PartOf(all, static_cast<int>(blockIdx.x));
  const int tile = static_cast<int>(blockIdx.x) - all.parts[first_part].first_tile;
  const std::byte* codes[kTiles];
  int64_t first_scale[kTiles];
  ChunkWords<kBits> next[kTiles];
  ChunkScales<kSegments> next_scales[kTiles];
  const auto load = [&](int chunk) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      next[t].Load(codes[t] + chunk * ChunkBytes(kBits), lane);
      next_scales[t].Load(all.parts[first_part + t], first_scale[t], segment_groups + chunk * kSegments);
    }
  };
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    const PackedPart& part = all.parts[first_part + t];
    codes[t] = part.codes + static_cast<int64_t>(tile) * chunks * ChunkBytes(kBits);
    first_scale[t] = static_cast<int64_t>(tile) * part.groups * kTileRows + lane / 4;
  }
  if (warp < chunks) load(warp);
  WaitForPrevious();
  LetNextBegin();
  RowNorm norm;
  norm.Find(row, shared);
  float sums[kTiles][2] = {};
  for (int chunk = warp; chunk < chunks; chunk += kWarps) {
    ChunkWords<kBits> words[kTiles];
    ChunkScales<kSegments> scales[kTiles];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) words[t] = next[t], scales[t] = next_scales[t];
    if (chunk + kWarps < chunks) load(chunk + kWarps);
    float values[4];
    norm.Load(row, chunk * 128 + lane * 4, values);
    const RoundedChunk<kUnits> inputs(values);
    int products[kTiles][4] = {};
#pragma unroll
    for (int unit = 0; unit < kChunkUnits; ++unit) {
      const uint2 fragment = inputs.Fragment(unit, lane);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        uint32_t registers[4];
        words[t].Unpack(unit, registers);
        MultiplyBytes(products[t], registers, fragment);
      }
      if ((unit + 1) % kUnits != 0) continue;
      const int s = unit / kUnits;
      const InputScale input = inputs.Segment(s);
      constexpr int kOdd = OddFactor(kBits);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        int(&c)[4] = products[t];
        const int zero0 = scales[t].zero[s][0], zero1 = scales[t].zero[s][1] * kOdd;
        sums[t][0] +=
            scales[t].scale[s][0] * input.scale * static_cast<float>(c[0] * 256 + c[1] - zero0 * input.sum);
        sums[t][1] += scales[t].scale[s][1] * (1.0f / kOdd) * input.scale *
                      static_cast<float>(c[2] * 256 + c[3] - zero1 * input.sum);
        c[0] = c[1] = c[2] = c[3] = 0;
      }
    }
  }
  if (lane % 4 == 0) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      partial[warp][t][lane / 4] = sums[t][0];
      partial[warp][t][lane / 4 + 8] = sums[t][1];
    }
  }
  __syncthreads();
  const int output = static_cast<int>(threadIdx.x), weight_row = tile * kTileRows + output;
  if (output >= kTileRows || weight_row >= all.parts[first_part].rows) return;
  float results[kTiles];
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    const PackedPart& part = all.parts[first_part + t];
    results[t] = part.bias != nullptr ? part.bias[weight_row] : 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) results[t] += partial[w][t][output];
  }
  if (kTiles == 2) results[0] = Activated(row.activation, results[0]) * results[kTiles - 1];
  all.parts[first_part].y[weight_row] = results[0];
  if (row.add != nullptr) row.add[weight_row] += results[0];
}

template <int kBits, int kUnits>
void MultiplySegments(Device& device, const PackedParts& all, int64_t tiles, const PackedMatrix& form,
                      const PackedInputs& inputs, int64_t rows) {
  const auto launch = [&](auto kernel) {
    GPTQ_LAUNCH(device, kernel, (Geometry{tiles, 1, 1, kWarps * 32}), all, static_cast<int>(form.chunks),
                reinterpret_cast<const int32_t*>(form.segment_groups.get()),
                reinterpret_cast<const uint4*>(inputs.fragments()),
                reinterpret_cast<const InputScale*>(inputs.scales()), static_cast<int>(rows));
  };
  if (rows <= 4) {
    launch(MultiplyTiles<kBits, kUnits, 1>);
  } else {
    launch(MultiplyTiles<kBits, kUnits, 2>);
  }
}

template <int kBits>
void MultiplyBits(Device& device, const PackedParts& all, int64_t tiles, const PackedMatrix& form,
                  const PackedInputs& inputs, int64_t rows) {
  if constexpr (kBits < 5 || kBits == 8) {  // others, see DeviceWeight, have segments of one unit
    if (form.segment_units == 4) return MultiplySegments<kBits, 4>(device, all, tiles, form, inputs, rows);
    if (form.segment_units == 2) return MultiplySegments<kBits, 2>(device, all, tiles, form, inputs, rows);
  }
  CHECK(form.segment_units == 1);
  MultiplySegments<kBits, 1>(device, all, tiles, form, inputs, rows);
}

struct PlainPart {
  const std::byte* weight;
  const float* bias;
  float* y;
  int rows, first_row;
};

struct PlainParts {
  PlainPart parts[kMostProducts];
  int count;
};

// Eight neighbours of a row.
template <typename Element>
struct Eight;

template <>
struct Eight<Half> {
  uint4 words{0, 0, 0, 0};
  __device__ void Load(const std::byte* row, int64_t index) {
    words = LoadOnce(reinterpret_cast<const uint4*>(row) + index);
  }
  __device__ void Get(float (&values)[8]) const {
    Half halves[8];
    *reinterpret_cast<uint4*>(halves) = words;
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = ToFloat(halves[i]);
  }
};

template <>
struct Eight<float> {
  uint4 words[2]{};
  __device__ void Load(const std::byte* row, int64_t index) {
    words[0] = LoadOnce(reinterpret_cast<const uint4*>(row) + 2 * index);
    words[1] = LoadOnce(reinterpret_cast<const uint4*>(row) + 2 * index + 1);
  }
  __device__ void Get(float (&values)[8]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      values[4 * i] = __uint_as_float(words[i].x), values[4 * i + 1] = __uint_as_float(words[i].y);
      values[4 * i + 2] = __uint_as_float(words[i].z), values[4 * i + 3] = __uint_as_float(words[i].w);
    }
  }
};

// A warp multiplies one row of the weight. x [rows, columns].
template <typename Element, int kRows>
__global__ void MultiplyPlainRows(PlainParts all, int64_t columns, int64_t stride, const float* x, int rows,
                                  int total) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int index = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (index >= total) {
    WaitForPrevious();
    return;
  }
  int number = 0;
  while (number + 1 < all.count && index >= all.parts[number + 1].first_row) ++number;
  const PlainPart& part = all.parts[number];
  const int64_t row = index - part.first_row;
  const std::byte* const weight = part.weight + row * stride * static_cast<int64_t>(sizeof(Element));
  const int64_t vectors = stride / 8;
  constexpr int kAhead = 4;
  Eight<Element> next[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    if (lane + 32 * i < vectors) next[i].Load(weight, lane + 32 * i);
  }
  WaitForPrevious();
  LetNextBegin();
  float sums[kRows] = {};
  for (int64_t first = lane; first < vectors; first += 32 * kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t vector = first + 32 * i;
      float values[8];
      next[i].Get(values);
      if (vector + 32 * kAhead < vectors) next[i].Load(weight, vector + 32 * kAhead);
      if (vector >= vectors) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float* const in = x + (r < rows ? r : 0) * columns + vector * 8;
        if (vector * 8 + 8 <= columns && columns % 4 == 0) {
          const float4 a = *reinterpret_cast<const float4*>(in), b = *reinterpret_cast<const float4*>(in + 4);
          sums[r] += values[0] * a.x + values[1] * a.y + values[2] * a.z + values[3] * a.w;
          sums[r] += values[4] * b.x + values[5] * b.y + values[6] * b.z + values[7] * b.w;
        } else {
#pragma unroll
          for (int k = 0; k < 8; ++k) {
            if (vector * 8 + k < columns) sums[r] += values[k] * in[k];
          }
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const float sum = WarpSum(sums[r]);
    if (lane == 0 && r < rows)
      part.y[static_cast<int64_t>(r) * part.rows + row] =
          sum + (part.bias != nullptr ? part.bias[row] : 0.0f);
  }
}

// As MultiplyPlainRows, of one row that is normed here. kParts 2: a warp multiplies the same row of two
// matrices.
template <typename Element, int kParts>
__global__ void __launch_bounds__(256)
    MultiplyPlainFused(PlainParts all, int64_t stride, FusedRow fused, int total) {
  __shared__ float shared[32];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int index = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  int number = 0;
  while (kParts == 1 && number + 1 < all.count && index >= all.parts[number + 1].first_row) ++number;
  const int row = index - all.parts[number].first_row;
  const auto vectors = index < total ? static_cast<int>(stride / 8) : 0;
  constexpr int kAhead = 4 / kParts;
  const std::byte* weights[kParts];
  Eight<Element> next[kParts][kAhead];
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    weights[p] = all.parts[number + p].weight + row * stride * static_cast<int64_t>(sizeof(Element));
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (lane + 32 * i < vectors) next[p][i].Load(weights[p], lane + 32 * i);
    }
  }
  WaitForPrevious();
  LetNextBegin();
  RowNorm norm;
  norm.Find(fused, shared);
  float sums[kParts] = {};
  for (int first = lane; first < vectors; first += 32 * kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int vector = first + 32 * i;
      float values[kParts][8], left[4], right[4];
#pragma unroll
      for (int p = 0; p < kParts; ++p) {
        next[p][i].Get(values[p]);
        if (vector + 32 * kAhead < vectors) next[p][i].Load(weights[p], vector + 32 * kAhead);
      }
      if (vector >= vectors) continue;
      norm.Load(fused, vector * 8, left);
      norm.Load(fused, vector * 8 + 4, right);
#pragma unroll
      for (int p = 0; p < kParts; ++p) {
#pragma unroll
        for (int k = 0; k < 4; ++k) sums[p] += values[p][k] * left[k] + values[p][4 + k] * right[k];
      }
    }
  }
#pragma unroll
  for (int p = 0; p < kParts; ++p) sums[p] = WarpSum(sums[p]);
  if (lane != 0 || index >= total) return;
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    const float* const bias = all.parts[number + p].bias;
    if (bias != nullptr) sums[p] += bias[row];
  }
  if (kParts == 2) sums[0] = Activated(fused.activation, sums[0]) * sums[kParts - 1];
  all.parts[number].y[row] = sums[0];
  if (fused.add != nullptr) fused.add[row] += sums[0];
}

template <bool kWide>
__global__ void PlaceRows(const float* x, int64_t columns, const int32_t* places, void* out, Half* rest,
                          int64_t stride) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t place = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= stride) return;
  const int64_t column = places != nullptr ? places[place] : place < columns ? place : -1, row = blockIdx.y;
  const float value = column >= 0 ? x[row * columns + column] : 0.0f;
  if (kWide) {
    static_cast<float*>(out)[row * stride + place] = value;
    return;
  }
  const Half half = ToHalf(value);
  static_cast<Half*>(out)[row * stride + place] = half;
  if (rest != nullptr) rest[row * stride + place] = ToHalf(value - ToFloat(half));
}

__global__ void RoundScaledRows(const float* x, const float* factors, int64_t columns, Half* out) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, row = blockIdx.y;
  if (column < columns)
    out[row * columns + column] =
        ToHalf(x[row * columns + column] * (factors != nullptr ? factors[row] : 1.0f));
}

__global__ void AddBiasRows(const float* bias, int64_t columns, float* y) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column < columns) y[blockIdx.y * columns + column] += bias[column];
}

}  // namespace

void PackedInputs::Pack(Device& device, const DeviceWeight& weight, const float* x, int64_t rows) {
  CHECK(weight.packed() && rows >= 1 && rows <= kMostPackedRows);
  const PackedMatrix& m = weight.matrix;
  const int64_t fours = CeilDivide(rows, 4);
  fragment_bytes_ = fours * m.chunks * kChunkUnits * 32 * 8;
  const int64_t bytes = fragment_bytes_ + fours * 4 * m.segments() * static_cast<int64_t>(sizeof(InputScale));
  if (bytes > bytes_) {
    memory_ = device.Allocate(bytes);
    bytes_ = bytes;
  }
  GPTQ_LAUNCH(device, RoundInputs, (Geometry{CeilDivide(m.segments(), 4), rows, 1, 128}), x, weight.columns,
              reinterpret_cast<const int32_t*>(m.columns.get()), m.segment_units, m.segments(),
              reinterpret_cast<int8_t*>(memory_.get()),
              reinterpret_cast<InputScale*>(memory_.get() + fragment_bytes_));
}

namespace {

PackedParts PartsOf(std::span<const Product> products, int64_t& tiles) {
  CHECK(!products.empty() && products.size() <= kMostProducts);
  PackedParts all{};
  tiles = 0;
  for (const Product& product : products) {
    const DeviceWeight& weight = *product.weight;
    CHECK(weight.TakesInputsOf(*products[0].weight) && weight.matrix.bits == products[0].weight->matrix.bits);
    const PackedMatrix& m = weight.matrix;
    all.parts[all.count++] = {m.codes.get(),
                              m.scales.get(),
                              reinterpret_cast<const uint8_t*>(m.zeros.get()),
                              product.bias,
                              product.y,
                              m.groups,
                              static_cast<int>(weight.rows),
                              static_cast<int>(tiles),
                              m.zero,
                              m.half_scales};
    tiles += CeilDivide(weight.rows, kTileRows);
  }
  return all;
}

PlainParts PlainPartsOf(std::span<const Product> products, int64_t& total) {
  CHECK(!products.empty() && products.size() <= kMostProducts);
  PlainParts all{};
  total = 0;
  for (const Product& product : products) {
    const DeviceWeight& weight = *product.weight;
    CHECK(!weight.packed() && weight.TakesInputsOf(*products[0].weight));
    all.parts[all.count++] = {weight.wide() ? weight.floats.get() : weight.half.get(), product.bias,
                              product.y, static_cast<int>(weight.rows), static_cast<int>(total)};
    total += weight.rows;
  }
  return all;
}

template <int kBits, int kUnits>
void FuseSegments(Device& device, const PackedParts& all, int64_t tiles, const PackedMatrix& form,
                  const FusedRow& row) {
  const auto launch = [&](auto kernel, int64_t blocks) {
    GPTQ_LAUNCH(device, kernel, (Geometry{blocks, 1, 1, kWarps * 32}), all, static_cast<int>(form.chunks),
                reinterpret_cast<const int32_t*>(form.segment_groups.get()), row);
  };
  if (row.activate) {
    launch(MultiplyTilesFused<kBits, kUnits, 2>, tiles / 2);
  } else {
    launch(MultiplyTilesFused<kBits, kUnits, 1>, tiles);
  }
}

template <int kBits>
void FuseBits(Device& device, const PackedParts& all, int64_t tiles, const PackedMatrix& form,
              const FusedRow& row) {
  if (form.segment_units == 4) return FuseSegments<kBits, 4>(device, all, tiles, form, row);
  if (form.segment_units == 2) return FuseSegments<kBits, 2>(device, all, tiles, form, row);
  FuseSegments<kBits, 1>(device, all, tiles, form, row);
}

template <typename Element>
void FusePlain(Device& device, const PlainParts& all, int64_t total, int64_t stride, const FusedRow& row) {
  const auto launch = [&](auto kernel, int64_t rows) {
    GPTQ_LAUNCH(device, kernel, Geometry{CeilDivide(rows, 8)}, all, stride, row, static_cast<int>(rows));
  };
  if (row.activate) {
    launch(MultiplyPlainFused<Element, 2>, total / 2);
  } else {
    launch(MultiplyPlainFused<Element, 1>, total);
  }
}

}  // namespace

bool CanFuse(std::span<const Product> products) {
  if (products.empty() || products.size() > kMostProducts) return false;
  const DeviceWeight& form = *products[0].weight;
  if (form.columns % (form.packed() ? 4 : 8) != 0 || form.matrix.columns) return false;
  const int bits = form.matrix.bits;
  if (form.packed() && bits != 2 && bits != 3 && bits != 4 && bits != 8) return false;
  return std::ranges::all_of(products, [&](const Product& product) {
    return product.weight->TakesInputsOf(form) && product.weight->matrix.bits == bits;
  });
}

void MultiplyFused(Device& device, std::span<const Product> products, const float* x, const Fusion& fusion) {
  CHECK(CanFuse(products) && (fusion.add == nullptr || products.size() == 1));
  CHECK(!fusion.activation || (products.size() == 2 && products[0].weight->rows == products[1].weight->rows &&
                               fusion.add == nullptr));
  const DeviceWeight& form = *products[0].weight;
  const FusedRow row{x,
                     fusion.norm_weight,
                     fusion.norm_bias,
                     fusion.add,
                     fusion.epsilon,
                     static_cast<int>(form.columns),
                     fusion.norm.has_value(),
                     fusion.norm == NormKind::kRms,
                     fusion.activation.has_value(),
                     fusion.activation.value_or(ActivationKind::kSilu)};
  int64_t count = 0;
  if (!form.packed()) {
    const PlainParts all = PlainPartsOf(products, count);
    if (form.wide()) return FusePlain<float>(device, all, count, form.stride(), row);
    return FusePlain<Half>(device, all, count, form.stride(), row);
  }
  const PackedParts all = PartsOf(products, count);
  switch (form.matrix.bits) {
    case 2:
      return FuseBits<2>(device, all, count, form.matrix, row);
    case 3:
      return FuseBits<3>(device, all, count, form.matrix, row);
    case 4:
      return FuseBits<4>(device, all, count, form.matrix, row);
    default:
      return FuseBits<8>(device, all, count, form.matrix, row);
  }
}

void MultiplyPacked(Device& device, std::span<const Product> products, const PackedInputs& inputs,
                    int64_t rows) {
  CHECK(rows <= kMostPackedRows);
  int64_t tiles = 0;
  const PackedParts all = PartsOf(products, tiles);
  const PackedMatrix& form = products[0].weight->matrix;
  switch (form.bits) {
    case 2:
      return MultiplyBits<2>(device, all, tiles, form, inputs, rows);
    case 3:
      return MultiplyBits<3>(device, all, tiles, form, inputs, rows);
    case 4:
      return MultiplyBits<4>(device, all, tiles, form, inputs, rows);
    case 5:
      return MultiplyBits<5>(device, all, tiles, form, inputs, rows);
    case 6:
      return MultiplyBits<6>(device, all, tiles, form, inputs, rows);
    case 7:
      return MultiplyBits<7>(device, all, tiles, form, inputs, rows);
    default:
      return MultiplyBits<8>(device, all, tiles, form, inputs, rows);
  }
}

namespace {

template <typename Element>
void MultiplyPlainOf(Device& device, const PlainParts& all, int64_t total, const DeviceWeight& form,
                     const float* x, int64_t rows) {
  const Geometry geometry{CeilDivide(total, 8)};
  const auto launch = [&](auto kernel) {
    GPTQ_LAUNCH(device, kernel, geometry, all, form.columns, form.stride(), x, static_cast<int>(rows),
                static_cast<int>(total));
  };
  if (rows == 1) {
    launch(MultiplyPlainRows<Element, 1>);
  } else {
    launch(MultiplyPlainRows<Element, kMostPlainRows>);
  }
}

}  // namespace

void MultiplyPlain(Device& device, std::span<const Product> products, const float* x, int64_t rows) {
  CHECK(rows <= kMostPlainRows);
  int64_t total = 0;
  const PlainParts all = PlainPartsOf(products, total);
  const DeviceWeight& form = *products[0].weight;
  if (form.wide()) {
    MultiplyPlainOf<float>(device, all, total, form, x, rows);
  } else {
    MultiplyPlainOf<Half>(device, all, total, form, x, rows);
  }
}

void PlaceInputs(Device& device, const DeviceWeight& weight, const float* x, int64_t rows, void* out,
                 void* rest) {
  const int64_t stride = weight.stride(), rows_at_once = 65535;
  const auto* places = reinterpret_cast<const int32_t*>(weight.matrix.columns.get());
  for (int64_t row = 0; row < rows; row += rows_at_once) {
    const Geometry geometry{CeilDivide(stride, 256), std::min(rows_at_once, rows - row)};
    const float* const from = x + row * weight.columns;
    if (weight.wide()) {
      GPTQ_LAUNCH(device, PlaceRows<true>, geometry, from, weight.columns, places,
                  static_cast<void*>(static_cast<float*>(out) + row * stride), nullptr, stride);
    } else {
      GPTQ_LAUNCH(device, PlaceRows<false>, geometry, from, weight.columns, places,
                  static_cast<void*>(static_cast<Half*>(out) + row * stride),
                  rest == nullptr ? nullptr : static_cast<Half*>(rest) + row * stride, stride);
    }
  }
}

void RoundRows(Device& device, const float* x, const float* factors, int64_t rows, int64_t columns,
               void* out) {
  const int64_t rows_at_once = 65535;
  for (int64_t row = 0; row < rows; row += rows_at_once) {
    GPTQ_LAUNCH(device, RoundScaledRows,
                (Geometry{CeilDivide(columns, 256), std::min(rows_at_once, rows - row)}), x + row * columns,
                factors == nullptr ? nullptr : factors + row, columns,
                static_cast<Half*>(out) + row * columns);
  }
}

void AddBias(Device& device, const float* bias, int64_t rows, int64_t columns, float* y) {
  const int64_t rows_at_once = 65535;
  for (int64_t row = 0; row < rows; row += rows_at_once) {
    GPTQ_LAUNCH(device, AddBiasRows, (Geometry{CeilDivide(columns, 256), std::min(rows_at_once, rows - row)}),
                bias, columns, y + row * columns);
  }
}

}  // namespace gptq::cuda
