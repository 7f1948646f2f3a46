#include <algorithm>
#include <vector>

#include "base/error.h"
#include "compute/cuda/device_weight.h"
#include "compute/cuda/packed_layout.cuh"

namespace gptq::cuda {
namespace {

// The code of input `k` of a unit of the processor's layout (compute/tile_layout.h), 16 words a line.
__device__ uint32_t CodeInUnit(const uint32_t* unit, int bits, int lane, int k) {
  const int first_width = bits == 3 ? 4 : bits >= 8 ? 8 : bits >= 4 ? 4 : bits >= 2 ? 2 : 1;
  const int together = 8 / first_width, in_line = k % (4 * together);
  const int vector = k / (4 * together) * together + in_line % together, byte = in_line / together;
  if (bits == 3) {
    if (vector < 6) return unit[vector / 2 * 16 + lane] >> (8 * byte + (vector % 2) * 4) & 7;
    uint32_t code = 0;
    for (int line = 0; line < 3; ++line)
      code |= (unit[line * 16 + lane] >> (8 * byte + (vector == 6 ? 3 : 7)) & 1) << line;
    return code;
  }
  uint32_t code = 0;
  int line = 0, position = 0;
  for (int width = 8; width > 0; width /= 2) {
    if ((bits & width) == 0) continue;
    const uint32_t word = unit[(line + vector * width / 8) * 16 + lane];
    code |= (word >> (8 * byte + vector * width % 8) & ((1u << width) - 1)) << position;
    line += width;
    position += width;
  }
  return code;
}

// One block of a warp for each chunk and tile.
__global__ void RelayTiles(const uint32_t* from, int64_t units, int bits, int64_t chunks, std::byte* to) {
  WaitForPrevious();
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t chunk = blockIdx.x, tile = blockIdx.y;
  std::byte* const place = to + (tile * chunks + chunk) * ChunkBytes(bits);
  uint32_t registers[16];
  for (int i = 0; i < 16; ++i) {
    registers[i] = 0;
    const int64_t unit = chunk * kChunkUnits + i / 4;
    if (unit >= units) continue;
    const int r = i % 4, output = lane / 4 + 8 * (r % 2), input = lane % 4 * 4 + 16 * (r / 2);
    const uint32_t* const words = from + (tile * units + unit) * bits * 16;
    for (int b = 0; b < 4; ++b) registers[i] |= CodeInUnit(words, bits, output, input + b) << (8 * b);
  }
  int64_t offset = 0;
  int position = 0;
  for (int width : PlaneWidths(bits)) {
    if (width == 0) continue;
    const uint32_t mask = ((1u << width) - 1) * 0x01010101u;
    const int vector_words = width == 1 ? 2 : 4;
    for (int word = 0; word < 2 * width; ++word) {
      uint32_t value = 0;
      for (int i = 0; i < 16; ++i) {
        const PlanePlace in_plane = PlaceInPlane(bits, width, i / 4, i % 4);
        if (in_plane.word == word) value |= (registers[i] >> position & mask) << in_plane.bit;
      }
      const int64_t vector = word / vector_words;
      reinterpret_cast<uint32_t*>(place + offset)[(vector * 32 + lane) * vector_words + word % vector_words] =
          value;
    }
    offset += 256 * width;
    position += width;
  }
}

__device__ void Store(Half* to, float value) { *to = ToHalf(value); }
__device__ void Store(float* to, float value) { *to = value; }

template <typename Element>
__global__ void PadRows(const float* from, int64_t columns, Element* to, int64_t stride) {
  WaitForPrevious();
  const int64_t row = blockIdx.y;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column < stride)
    Store(to + row * stride + column, column < columns ? from[row * columns + column] : 0.0f);
}

__global__ void BFloatToHalf(const uint16_t* from, int64_t count, Half* to) {
  WaitForPrevious();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) to[i] = ToHalf(__uint_as_float(static_cast<uint32_t>(from[i]) << 16));
}

template <int kBits>
__global__ void DequantizeTiles(const std::byte* codes, int64_t chunks, const int32_t* segment_groups,
                                int segment_units, const void* scales, bool half_scales, const uint8_t* zeros,
                                int zero, int64_t groups, Half* out) {
  WaitForPrevious();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t chunk = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  const int64_t tile = blockIdx.y;
  if (chunk >= chunks) return;
  ChunkWords<kBits> words;
  words.Load(codes + (tile * chunks + chunk) * ChunkBytes(kBits), lane);
#pragma unroll
  for (int unit = 0; unit < kChunkUnits; ++unit) {
    uint32_t registers[4];
    words.Unpack(unit, registers);
    const int64_t group = segment_groups[(chunk * kChunkUnits + unit) / segment_units];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int output = lane / 4 + 8 * (r % 2), input = lane % 4 * 4 + 16 * (r / 2);
      const int64_t index = (tile * groups + group) * kTileRows + output;
      const float scale = ScaleAt(scales, half_scales, index);
      const int z = zeros != nullptr ? zeros[index] : zero;
      Half values[4];
      for (int b = 0; b < 4; ++b)
        values[b] = ToHalf(
            static_cast<float>(
                static_cast<int>(registers[r] >> (8 * b) & 255) / (r % 2 == 1 ? OddFactor(kBits) : 1) - z) *
            scale);
      Half* const place =
          out + (tile * kTileRows + output) * chunks * 128 + (chunk * kChunkUnits + unit) * 32 + input;
      *reinterpret_cast<uint2*>(place) = *reinterpret_cast<const uint2*>(values);
    }
  }
}

// As few units as have one group wherever a segment begins.
int SegmentUnits(const std::vector<int32_t>& unit_groups) {
  for (int units = kChunkUnits; units > 1; units /= 2) {
    bool one = true;
    for (size_t u = 0; u < unit_groups.size(); ++u)
      one = one && unit_groups[u] == unit_groups[u - u % static_cast<size_t>(units)];
    if (one) return units;
  }
  return 1;
}

}  // namespace

DeviceWeight::DeviceWeight(std::shared_ptr<Device> device_, const Weight& weight)
    : device(std::move(device_)), rows(weight.rows()), columns(weight.columns()) {
  if (weight.tiled() != nullptr && weight.tiled()->PlainGrids()) {
    UploadTiles(*weight.tiled());
  } else {
    UploadPlain(weight);
  }
  device->Wait();  // products read weights before they wait for the kernel before them
}

const DeviceWeight& DeviceWeight::Of(const std::shared_ptr<Device>& device, const Weight& weight) {
  const auto* kept = static_cast<const DeviceWeight*>(weight.resident().get());
  if (kept == nullptr || kept->device != device) {
    weight.resident() = std::make_shared<const DeviceWeight>(device, weight);
    kept = static_cast<const DeviceWeight*>(weight.resident().get());
  }
  return *kept;
}

Memory DeviceWeight::Take(int64_t bytes) {
  bytes_ += bytes;
  return device->Allocate(bytes);
}

std::shared_ptr<const DeviceWeight> DeviceWeight::Clone() const {
  const std::shared_ptr<DeviceWeight> clone(new DeviceWeight);
  clone->device = device;
  clone->rows = rows;
  clone->columns = columns;
  clone->column_order_ = column_order_;
  clone->matrix = matrix;
  const int64_t tiles = CeilDivide(rows, kTileRows), values = tiles * matrix.groups * kTileRows;
  const auto copy = [&](const Memory& from, int64_t bytes) {
    if (!from) return Memory();
    Memory to = clone->Take(bytes);
    device->OnDevice(to.get(), from.get(), bytes);
    return to;
  };
  clone->half = copy(half, rows * stride() * 2);
  clone->floats = copy(floats, rows * stride() * 4);
  clone->matrix.codes = copy(matrix.codes, tiles * matrix.chunks * ChunkBytes(matrix.bits));
  clone->matrix.scales = copy(matrix.scales, values * (matrix.half_scales ? 2 : 4));
  clone->matrix.zeros = copy(matrix.zeros, values);
  device->Wait();
  return clone;
}

int64_t DeviceWeight::stride() const {
  return packed() ? matrix.chunks * kChunkUnits * kUnitInputs : (columns + 7) / 8 * 8;
}

bool DeviceWeight::TakesInputsOf(const DeviceWeight& other) const {
  return packed() == other.packed() && wide() == other.wide() && columns == other.columns &&
         column_order_ == other.column_order_ && matrix.chunks == other.matrix.chunks &&
         matrix.segment_units == other.matrix.segment_units;
}

void DeviceWeight::UploadPlain(const Weight& weight) {
  const bool is_wide = weight.tiled() == nullptr && weight.bytes() == rows * columns * 4;
  Memory& memory = is_wide ? floats : half;
  memory = Take(rows * stride() * (is_wide ? 4 : 2));
  const void* ready = is_wide ? static_cast<const void*>(weight.FloatData()) : weight.HalfData(DType::kF16);
  if (ready != nullptr && stride() == columns)
    return device->ToDevice(memory.get(), ready, rows * columns * (is_wide ? 4 : 2));
  const int64_t rows_at_once = std::clamp<int64_t>((int64_t{16} << 20) / columns, 1, 65535);
  const Memory staged = device->Allocate(std::min(rows, rows_at_once) * columns * 4);
  const uint16_t* brain = weight.HalfData(DType::kBF16);
  std::vector<float> values;
  for (int64_t row = 0; row < rows; row += rows_at_once) {
    const int64_t count = std::min(rows_at_once, rows - row);
    if (brain != nullptr && stride() == columns) {
      device->ToDevice(staged.get(), brain + row * columns, count * columns * 2);
      GPTQ_LAUNCH(*device, BFloatToHalf, Geometry{CeilDivide(count * columns, 256)},
                  reinterpret_cast<const uint16_t*>(staged.get()), count * columns,
                  reinterpret_cast<Half*>(half.get()) + row * columns);
      continue;
    }
    values.resize(static_cast<size_t>(count * columns));
    weight.ReadRows(row, count, values.data());
    device->ToDevice(staged.get(), values.data(), count * columns * 4);
    const auto* const from = reinterpret_cast<const float*>(staged.get());
    const Geometry geometry{CeilDivide(stride(), 256), count};
    if (is_wide) {
      GPTQ_LAUNCH(*device, PadRows<float>, geometry, from, columns,
                  reinterpret_cast<float*>(floats.get()) + row * stride(), stride());
    } else {
      GPTQ_LAUNCH(*device, PadRows<Half>, geometry, from, columns,
                  reinterpret_cast<Half*>(half.get()) + row * stride(), stride());
    }
  }
}

void DeviceWeight::UploadTiles(const TiledWeight& tiled) {
  const auto upload = [&](const void* data, int64_t bytes) {
    Memory memory = Take(bytes);
    device->ToDevice(memory.get(), data, bytes);
    return memory;
  };
  matrix.bits = tiled.bits();
  matrix.chunks = CeilDivide(tiled.units(), kChunkUnits);
  matrix.groups = tiled.groups();
  matrix.half_scales = tiled.half_scales();
  matrix.zero = tiled.common_zero();
  std::vector<int32_t> unit_groups;
  for (const ColumnBlock& block : tiled.blocks())
    unit_groups.insert(unit_groups.end(), static_cast<size_t>(block.units), block.group);
  unit_groups.resize(static_cast<size_t>(matrix.chunks * kChunkUnits), unit_groups.back());
  matrix.segment_units = matrix.bits >= 5 && matrix.bits <= 7 ? 1 : SegmentUnits(unit_groups);
  std::vector<int32_t> segment_groups;
  for (size_t u = 0; u < unit_groups.size(); u += static_cast<size_t>(matrix.segment_units))
    segment_groups.push_back(unit_groups[u]);
  matrix.segment_groups = upload(segment_groups.data(), static_cast<int64_t>(segment_groups.size()) * 4);
  column_order_ = tiled.column_order();
  if (!column_order_.empty()) {
    std::vector<int32_t> order = column_order_;
    order.resize(static_cast<size_t>(stride()), -1);
    matrix.columns = upload(order.data(), stride() * 4);
  }
  const int64_t tiles = tiled.tiles();
  const WeightTile first = tiled.tile(0);
  matrix.scales = upload(first.scales, tiles * matrix.groups * kTileRows * (matrix.half_scales ? 2 : 4));
  if (first.zeros != nullptr) matrix.zeros = upload(first.zeros, tiles * matrix.groups * kTileRows);
  const int64_t chunk_bytes = ChunkBytes(matrix.bits);
  matrix.codes = Take(tiles * matrix.chunks * chunk_bytes);
  const int64_t tiles_at_once =
      std::clamp<int64_t>((int64_t{64} << 20) / tiled.tile_bytes(), 1, std::min<int64_t>(tiles, 65535));
  const Memory staged = device->Allocate(tiles_at_once * tiled.tile_bytes());
  for (int64_t tile = 0; tile < tiles; tile += tiles_at_once) {
    const int64_t count = std::min(tiles_at_once, tiles - tile);
    device->ToDevice(staged.get(), tiled.tile(tile).codes, count * tiled.tile_bytes());
    GPTQ_LAUNCH(*device, RelayTiles, (Geometry{matrix.chunks, count, 1, 32}),
                reinterpret_cast<const uint32_t*>(staged.get()), tiled.units(), matrix.bits, matrix.chunks,
                matrix.codes.get() + tile * matrix.chunks * chunk_bytes);
  }
}

namespace {

template <int kBits>
void DequantizeBits(Device& device, const DeviceWeight& weight, int64_t first, int64_t count, void* out) {
  const PackedMatrix& m = weight.matrix;
  constexpr int64_t kAtOnce = 65535;
  for (int64_t tile = first; tile < first + count; tile += kAtOnce) {
    const int64_t values = tile * m.groups * kTileRows;
    GPTQ_LAUNCH(device, DequantizeTiles<kBits>,
                (Geometry{CeilDivide(m.chunks, 8), std::min(kAtOnce, first + count - tile)}),
                m.codes.get() + tile * m.chunks * ChunkBytes(kBits), m.chunks,
                reinterpret_cast<const int32_t*>(m.segment_groups.get()), m.segment_units,
                m.scales.get() + values * (m.half_scales ? 2 : 4), m.half_scales,
                m.zeros ? reinterpret_cast<const uint8_t*>(m.zeros.get()) + values : nullptr, m.zero,
                m.groups, static_cast<Half*>(out) + (tile - first) * kTileRows * weight.stride());
  }
}

}  // namespace

void Dequantize(Device& device, const DeviceWeight& weight, int64_t first, int64_t count, void* half) {
  switch (weight.matrix.bits) {
    case 2:
      return DequantizeBits<2>(device, weight, first, count, half);
    case 3:
      return DequantizeBits<3>(device, weight, first, count, half);
    case 4:
      return DequantizeBits<4>(device, weight, first, count, half);
    case 5:
      return DequantizeBits<5>(device, weight, first, count, half);
    case 6:
      return DequantizeBits<6>(device, weight, first, count, half);
    case 7:
      return DequantizeBits<7>(device, weight, first, count, half);
    default:
      return DequantizeBits<8>(device, weight, first, count, half);
  }
}

}  // namespace gptq::cuda
