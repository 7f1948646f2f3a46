// Typed pieces of the device's memory.
#pragma once

#include <cstdint>
#include <vector>

#include "compute/cuda/runtime.h"

namespace gptq::cuda {

template <typename T>
struct DeviceArray {
  Memory memory;

  DeviceArray() = default;
  DeviceArray(Device& device, int64_t count)
      : memory(device.Allocate(count * static_cast<int64_t>(sizeof(T)))) {}
  DeviceArray(Device& device, const std::vector<T>& values)
      : DeviceArray(device, static_cast<int64_t>(values.size())) {
    device.ToDevice(memory.get(), values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
  }
  T* get() const { return reinterpret_cast<T*>(memory.get()); }
};

template <typename T>
std::vector<T> ToVector(Device& device, const T* from, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  device.ToHost(values.data(), from, count * static_cast<int64_t>(sizeof(T)));
  return values;
}

}  // namespace gptq::cuda
