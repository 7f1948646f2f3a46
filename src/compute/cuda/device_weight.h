// A weight on the device: as the kernels of quantized weights want it, as float16, or, where it is stored so,
// as float32.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "compute/cuda/runtime.h"
#include "compute/weight.h"

namespace gptq::cuda {

// Quantized weights lie in tiles of 16 outputs by chunks of 128 inputs, those of a tile one after the other:
// what a warp multiplies as four products of the matrix units (16 x 32 by 32 x 8 bytes). A unit is 32 inputs.
inline constexpr int kTileRows = 16;
inline constexpr int kUnitInputs = 32;
inline constexpr int kChunkUnits = 4;

// A lane of a warp has 64 codes of a chunk: in unit u, register r and byte b that of output lane / 4 + 8 (r %
// 2) and input 32 u + 4 (lane % 4) + b + 16 (r / 2). The codes' bits lie in planes, the lowest bits first, of
// these widths; a lane's words of a plane lie as vectors of 16 bytes (8 for a plane of one bit), vector after
// vector [lanes].
constexpr std::array<int, 3> PlaneWidths(int bits) {
  switch (bits) {
    case 3:
      return {2, 1, 0};
    case 5:
      return {4, 1, 0};
    case 6:
      return {4, 2, 0};
    case 7:
      return {4, 2, 1};
    default:
      return {bits, 0, 0};
  }
}

// Where in the lane's words of a plane the bits of register r of unit u are: a word, and the lowest bit in
// each of its bytes.
struct PlanePlace {
  int word, bit;
};
constexpr PlanePlace PlaceInPlane(int bits, int width, int u, int r) {
  if (bits == 3 && width == 1) {  // so that two registers at a time come to their places by one shift
    const int pair = u % 2 * 2 + r / 2;
    return {u / 2, pair % 2 + pair / 2 * 4 + r % 2 * 2};
  }
  const int index = 4 * u + r;
  return {index * width / 8, index * width % 8};
}

constexpr int64_t ChunkBytes(int bits) { return int64_t{32} * 8 * bits; }

struct PackedMatrix {
  int bits = 0;
  int64_t chunks = 0;     // of a tile
  int segment_units = 1;  // 4, 2 or 1: a segment's inputs share a scale, all its weights are of one group
  int64_t groups = 0;
  bool half_scales = true;  // else float32
  int zero = 0;             // of all weights where `zeros` is empty
  Memory codes;             // [tiles][chunks][ChunkBytes]
  Memory scales;            // [tiles][groups][16]
  Memory zeros;             // bytes, [tiles][groups][16], or empty
  Memory segment_groups;    // int32 [segments]
  Memory columns;           // int32 [chunks * 128]: the input of each place, or -1; empty: place = input

  int64_t segments() const { return chunks * kChunkUnits / segment_units; }
};

// Made on the first use of a Weight, which keeps it.
struct DeviceWeight {
  // Throws Error when the device's memory does not suffice or a weight is beyond float16.
  DeviceWeight(std::shared_ptr<Device> device, const Weight& weight);
  // The one that `weight` keeps.
  static const DeviceWeight& Of(const std::shared_ptr<Device>& device, const Weight& weight);

  DeviceWeight(const DeviceWeight&) = delete;
  // The same values in memory of its own.
  std::shared_ptr<const DeviceWeight> Clone() const;

  bool packed() const { return matrix.bits > 0; }
  bool wide() const { return floats != nullptr; }
  int64_t bytes() const { return bytes_; }
  // Elements of a row: of a packed weight, places.
  int64_t stride() const;
  bool TakesInputsOf(const DeviceWeight& other) const;

  std::shared_ptr<Device> device;  // outlives the memory
  int64_t rows = 0, columns = 0;
  Memory half;    // float16 [rows, columns filled up to 8], or
  Memory floats;  // float32 [rows, columns filled up to 8], unless packed
  PackedMatrix matrix;

 private:
  void UploadPlain(const Weight& weight);
  void UploadTiles(const TiledWeight& tiled);
  DeviceWeight() = default;
  Memory Take(int64_t bytes);

  int64_t bytes_ = 0;
  std::vector<int32_t> column_order_;
};

// float16 [tiles * 16, chunks * 128] of packed weights, tiles [first, first + count).
void Dequantize(Device& device, const DeviceWeight& weight, int64_t first, int64_t count, void* half);

}  // namespace gptq::cuda
