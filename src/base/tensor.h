// Typed memory with a shape. Views are passed, owners are returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"

namespace gptq {

using Shape = std::vector<int64_t>;  // outermost dimension first; row-major

std::string ToString(const Shape& shape);  // "[2, 3]"
int64_t ElementCount(const Shape& shape);

template <typename T>
constexpr bool StoredAs(DType dtype);

// Borrowed. The memory belongs to a Tensor or a mapped file, which must outlive the view; it may be unaligned
// (GGUF and safetensors files promise little), so read elements through ToFloat or memcpy unless `Aligned()`.
struct TensorView {
  DType dtype = DType::kF32;
  Shape shape;
  const std::byte* data = nullptr;

  int64_t elements() const { return ElementCount(shape); }
  int64_t bytes() const { return ByteSize(dtype, elements()); }
  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  int64_t row_elements() const { return rows() == 0 ? 0 : elements() / rows(); }
  template <typename T>
  bool Aligned() const {
    return reinterpret_cast<uintptr_t>(data) % alignof(T) == 0;
  }
  // The elements in place; the type must be the stored one and the memory aligned.
  template <typename T>
  std::span<const T> As() const {
    CHECK(StoredAs<T>(dtype) && Aligned<T>());
    return {reinterpret_cast<const T*>(data), static_cast<size_t>(elements())};
  }
};

// Owned, aligned to 64 bytes, movable. `Uninitialized` leaves the contents undefined. Large tensors have
// pages of their own, which go back to the system with them: what is held is what the program's plan says,
// and no heap keeps holes.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);  // zeros
  static Tensor Uninitialized(DType dtype, Shape shape);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t elements() const { return ElementCount(shape_); }
  int64_t bytes() const { return ByteSize(dtype_, elements()); }
  bool empty() const { return data_ == nullptr; }
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  TensorView view() const { return {dtype_, shape_, data_.get()}; }

  template <typename T>
  std::span<T> As() {
    CHECK(StoredAs<T>(dtype_));
    return {reinterpret_cast<T*>(data_.get()), static_cast<size_t>(elements())};
  }
  template <typename T>
  std::span<const T> As() const {
    CHECK(StoredAs<T>(dtype_));
    return {reinterpret_cast<const T*>(data_.get()), static_cast<size_t>(elements())};
  }

 private:
  struct Free {
    Free() : mapped_bytes(0) {}
    size_t mapped_bytes;  // 0: from the heap
    void operator()(std::byte* p) const;
  };
  DType dtype_ = DType::kF32;
  Shape shape_{0};
  std::unique_ptr<std::byte[], Free> data_;
};

template <typename T>
constexpr bool StoredAs(DType dtype) {
  if constexpr (std::is_same_v<T, double>) return dtype == DType::kF64;
  if constexpr (std::is_same_v<T, float>) return dtype == DType::kF32;
  if constexpr (std::is_same_v<T, uint16_t>) return dtype == DType::kF16 || dtype == DType::kBF16;
  if constexpr (std::is_same_v<T, int64_t>) return dtype == DType::kI64;
  if constexpr (std::is_same_v<T, int32_t>) return dtype == DType::kI32;
  if constexpr (std::is_same_v<T, int16_t>) return dtype == DType::kI16;
  if constexpr (std::is_same_v<T, int8_t>) return dtype == DType::kI8;
  if constexpr (std::is_same_v<T, uint8_t>) return dtype == DType::kU8 || dtype == DType::kBool;
  return false;
}

}  // namespace gptq
