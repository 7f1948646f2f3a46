// A file of torch.save with a table of tensors in it (pytorch_model.bin, .pt, .pth): the ZIP archives that
// PyTorch writes since 1.6, and the row of pickles before that.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/tensor.h"
#include "io/mapped_file.h"

namespace gptq {

// A tensor of any layout inside its storage. Safe to share between threads.
class TorchTensor {
 public:
  // `first` is the element 0; `strides` in elements, one a dimension. All elements lie in mapped memory.
  TorchTensor(DType dtype, Shape shape, Shape strides, const std::byte* first);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  // Whether the elements lie in row-major order without gaps, so that `View` is the mapped memory itself.
  bool contiguous() const { return contiguous_; }
  // Row-major. A tensor of another layout is copied into order when it is first asked for, and the copy kept.
  TensorView View() const;

 private:
  DType dtype_;
  Shape shape_;
  Shape strides_;
  const std::byte* first_;
  bool contiguous_;
  mutable std::once_flag gather_;
  mutable Tensor gathered_;
};

// Read-only. Opening it reads the table and checks every size and offset; no code of the file is run, and
// what is no table of tensors is refused by name.
class TorchFile {
 public:
  using Tensors = std::map<std::string, std::shared_ptr<const TorchTensor>, std::less<>>;

  // Throws Error naming the file, and the tensor where there is one.
  static TorchFile Open(const std::filesystem::path& path);

  const std::shared_ptr<const MappedFile>& file() const { return file_; }
  // Valid as long as the mapped file is.
  const Tensors& tensors() const { return tensors_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  Tensors tensors_;
};

}  // namespace gptq
