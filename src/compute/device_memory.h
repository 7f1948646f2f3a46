// Memory that is not the program's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/error.h"

namespace gptq {

// There is too little of it. Who can do without catches this.
class DeviceMemoryError : public Error {
 public:
  using Error::Error;
};

// Memory that only a backend's operations read and write.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  // Throws DeviceMemoryError. Contents undefined.
  virtual std::shared_ptr<std::byte> Allocate(int64_t bytes) = 0;
  // Bytes that may still be allocated.
  virtual int64_t Free() const = 0;
};

}  // namespace gptq
