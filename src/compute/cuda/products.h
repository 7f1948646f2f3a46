// y = x Wᵀ + bias on the device.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "compute/backend.h"
#include "compute/cuda/device_weight.h"

namespace gptq::cuda {

// All pointers are to the device's memory; the bias may be null.
struct Product {
  const DeviceWeight* weight = nullptr;
  const float* bias = nullptr;
  float* y = nullptr;  // [rows, weight rows]
};

inline constexpr size_t kMostProducts = 4;  // of one launch
inline constexpr int64_t kMostPackedRows =
    8;  // up to here weights are multiplied as they lie; beyond, tiled products
inline constexpr int64_t kMostPlainRows = 4;

// Rows of inputs rounded to 16 bits for packed weights: two planes of signed bytes, a scale for each segment.
// As much memory as one call needs is kept.
class PackedInputs {
 public:
  // x [rows, weight columns], rows <= kMostPackedRows.
  void Pack(Device& device, const DeviceWeight& weight, const float* x, int64_t rows);
  const std::byte* fragments() const { return memory_.get(); }
  // One scale and the sum of the integers, {float, int32} [rows filled up to 4][segments].
  const std::byte* scales() const { return memory_.get() + fragment_bytes_; }

 private:
  Memory memory_;
  int64_t bytes_ = 0, fragment_bytes_ = 0;
};

// What is done to one row of inputs on its way into a product, and to what comes out: nothing at first.
struct Fusion {
  std::optional<NormKind> norm;  // of the inputs, with weight and bias [columns] or null
  float epsilon = 0;
  const float* norm_weight = nullptr;
  const float* norm_bias = nullptr;
  float* add = nullptr;  // of one product: add += y, besides
  // Of two products of equal rows: the first one's y = activation(y) times the second one's, which is not
  // written.
  std::optional<ActivationKind> activation;
};

// One row. Packed weights that take inputs of each other, of as many bits, and without an order of columns;
// or plain weights.
bool CanFuse(std::span<const Product> products);
void MultiplyFused(Device& device, std::span<const Product> products, const float* x, const Fusion& fusion);

// By integers, of weights that take inputs of each other.
void MultiplyPacked(Device& device, std::span<const Product> products, const PackedInputs& inputs,
                    int64_t rows);
// Of float16 or float32 weights that take inputs of each other, by float32 sums; rows <= kMostPlainRows.
void MultiplyPlain(Device& device, std::span<const Product> products, const float* x, int64_t rows);
// x [rows, columns] of a product at the weight's places, [rows, weight.stride()] of float32 if that is wide;
// else of float16, and, if `rest` is not null, what that leaves of it.
void PlaceInputs(Device& device, const DeviceWeight& weight, const float* x, int64_t rows, void* out,
                 void* rest);
// x [rows, columns] times its rows' factors (null: 1) as float16.
void RoundRows(Device& device, const float* x, const float* factors, int64_t rows, int64_t columns,
               void* out);
// y [rows, columns] += bias
void AddBias(Device& device, const float* bias, int64_t rows, int64_t columns, float* y);

}  // namespace gptq::cuda
