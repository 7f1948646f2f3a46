// How a file of tensors is laid out before any of them is known.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/tensor.h"

namespace gptq {

struct TensorDeclaration {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

// A file's first bytes and the place of each tensor; what lies between tensors is zero. The same declarations
// give the same bytes.
struct TensorFileLayout {
  std::string header;
  std::vector<int64_t> offsets;  // of each declaration, from the start of the file
  int64_t file_bytes = 0;

  int64_t data_bytes() const { return file_bytes - static_cast<int64_t>(header.size()); }
};

}  // namespace gptq
