#include "base/tensor.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace gptq {
namespace {

constexpr size_t kMappedBytes = 1 << 20;
constexpr size_t kHugePage = 2 << 20;

// Fresh pages, huge ones where the system has them: filling memory 4 KiB at a time costs a tenth of a run.
std::byte* MapPages(size_t bytes) {
  const size_t span = bytes + kHugePage;
  void* mapped = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(mapped);
  const size_t skip = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  const size_t page_bytes = (bytes + 4095) / 4096 * 4096;
  if (skip > 0) munmap(begin, skip);
  if (span - skip > page_bytes) munmap(begin + skip + page_bytes, span - skip - page_bytes);
  madvise(begin + skip, page_bytes, MADV_HUGEPAGE);
  return begin + skip;
}

}  // namespace

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

void Tensor::Free::operator()(std::byte* p) const {
  if (mapped_bytes > 0) {
    munmap(p, mapped_bytes);
  } else {
    std::free(p);
  }
}

Tensor::Tensor(DType dtype, Shape shape) {
  *this = Uninitialized(dtype, std::move(shape));
  const bool fresh_pages = data_.get_deleter().mapped_bytes > 0;  // zero already
  if (!empty() && !fresh_pages) std::memset(data(), 0, static_cast<size_t>(bytes()));
}

Tensor Tensor::Uninitialized(DType dtype, Shape shape) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.shape_ = std::move(shape);
  const auto bytes = static_cast<size_t>(tensor.bytes());
  const size_t rounded = (bytes + 63) / 64 * 64;
  if (rounded == 0) return tensor;
  std::byte* memory = nullptr;
  if (bytes >= kMappedBytes) {
    memory = MapPages(rounded);
    tensor.data_.get_deleter().mapped_bytes = rounded;
  } else {
    memory = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
  }
  if (memory == nullptr) {
    throw Error(Concat("out of memory: ", bytes, " bytes are not to be had"), ToString(tensor.shape_),
                "use a smaller model, fewer samples or a machine with more memory");
  }
  tensor.data_.reset(memory);
  return tensor;
}

}  // namespace gptq
