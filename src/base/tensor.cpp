#include "base/tensor.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace gptq {

std::string ToString(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

int64_t ElementCount(const Shape& shape) {
  int64_t count = 1;
  for (int64_t dimension : shape) count *= dimension;
  return count;
}

void Tensor::Free::operator()(std::byte* p) const { std::free(p); }

Tensor::Tensor(DType dtype, Shape shape) {
  *this = Uninitialized(dtype, std::move(shape));
  if (!empty()) std::memset(data(), 0, static_cast<size_t>(bytes()));
}

Tensor Tensor::Uninitialized(DType dtype, Shape shape) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.shape_ = std::move(shape);
  const auto bytes = static_cast<size_t>(tensor.bytes());
  const size_t rounded = (bytes + 63) / 64 * 64;
  if (rounded == 0) return tensor;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
  if (memory == nullptr) {
    throw Error(Concat("out of memory: ", bytes, " bytes are not to be had"), ToString(tensor.shape_),
                "use a smaller model, fewer samples or a machine with more memory");
  }
  tensor.data_.reset(memory);
  return tensor;
}

}  // namespace gptq
