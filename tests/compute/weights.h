// A matrix in every form that a Weight can have, together with its values in float32.
#pragma once

#include <numeric>

#include "base/convert.h"
#include "compute/weight.h"
#include "tests/compute/plain.h"

namespace gptq {

enum class Storage { kFloatView, kOwned, kHalf, kBFloat16, kQ8_0, kCrooked, kPacked };
inline constexpr Storage kStorages[] = {Storage::kFloatView, Storage::kOwned, Storage::kHalf,
                                        Storage::kBFloat16,  Storage::kQ8_0,  Storage::kCrooked,
                                        Storage::kPacked};

inline std::string ToString(Storage storage) {
  constexpr const char* kNames[] = {"FloatView", "Owned", "Half", "BFloat16", "Q8_0", "Crooked", "Packed"};
  return kNames[static_cast<int>(storage)];
}

// kCrooked is a view of float32 at an address that is not a multiple of four, kHalf reordered one at an odd
// address; kQ8_0 needs columns of a
// multiple of 32.
struct StoredWeight {
  StoredWeight(Storage storage, int64_t rows, int64_t columns, bool reordered, uint32_t seed)
      : values(plain::Random(rows * columns, seed)) {
    std::vector<int32_t> order;
    if (reordered) {
      order.resize(static_cast<size_t>(rows));
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    }
    if (storage == Storage::kPacked) {
      weight = Weight(Pack(rows, columns, seed));
      return;
    }
    Store(storage, {rows, columns}, reordered, seed);
    const TensorView view{dtype, {rows, columns}, bytes.data() + offset};
    ToFloat(view.dtype, view.data, rows * columns, values.data());
    if (storage == Storage::kOwned) {
      Tensor tensor(DType::kF32, {rows, columns});
      std::copy(values.begin(), values.end(), tensor.As<float>().begin());
      weight = Weight(std::move(tensor));
      return;
    }
    weight = Weight(view, order);
    if (order.empty()) return;
    const std::vector<float> stored = values;
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(stored.begin() + order[static_cast<size_t>(r)] * columns, columns,
                  values.begin() + r * columns);
    }
  }

  std::vector<float> values;  // [rows, columns]
  Weight weight;
  std::vector<std::byte> bytes;  // the memory behind a view
  DType dtype = DType::kF32;
  size_t offset = 0;

 private:
  void Store(Storage storage, const Shape& shape, bool reordered, uint32_t seed) {
    const int64_t elements = ElementCount(shape);
    dtype = storage == Storage::kHalf       ? DType::kF16
            : storage == Storage::kBFloat16 ? DType::kBF16
            : storage == Storage::kQ8_0     ? DType::kQ8_0
                                            : DType::kF32;
    offset = storage == Storage::kCrooked || (storage == Storage::kHalf && reordered) ? 1 : 0;
    bytes.resize(static_cast<size_t>(ByteSize(dtype, elements)) + offset);
    if (dtype != DType::kQ8_0) {
      FromFloat(values.data(), elements, dtype, bytes.data() + offset);
      return;
    }
    std::mt19937 generator(seed);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(generator());
    for (size_t block = 0; block < bytes.size(); block += 34) {  // a scale between 1/64 and 1/8
      bytes[block + 1] = static_cast<std::byte>(0x24 + generator() % 0xc);
    }
  }

  PackedWeight Pack(int64_t rows, int64_t columns, uint32_t seed) {
    std::mt19937 generator(seed);
    PackedWeight packed;
    packed.rows = rows;
    packed.columns = columns;
    packed.group_size = 24;
    packed.groups = (columns + 23) / 24;
    packed.symmetric = false;
    packed.scale_type = DType::kF32;
    for (int64_t i = 0; i < rows * columns; ++i)
      packed.codes.push_back(static_cast<uint8_t>(generator() % 16));
    for (int64_t i = 0; i < rows * packed.groups; ++i) {
      packed.scales.push_back(0.01f + static_cast<float>(generator() % 100) * 0.003f);
      packed.zeros.push_back(static_cast<int16_t>(generator() % 17));
    }
    for (int64_t c = 0; c < columns; ++c) packed.group_index.push_back(static_cast<int32_t>(c / 24));
    std::shuffle(packed.group_index.begin(), packed.group_index.end(), generator);  // activation order
    for (int64_t i = 0; i < rows * columns; ++i) {
      const int64_t group =
          i / columns * packed.groups + packed.group_index[static_cast<size_t>(i % columns)];
      values[i] = static_cast<float>(packed.codes[i] - packed.zeros[group]) * packed.scales[group];
    }
    return packed;
  }
};

}  // namespace gptq
