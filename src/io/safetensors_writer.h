// How safetensors files are laid out, and one written in one go.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor.h"

namespace gptq {

struct TensorDeclaration {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

// A file's first bytes and the place of each tensor. The same declarations give the same bytes.
struct SafetensorsLayout {
  std::string header;            // length, JSON and padding; a multiple of 64 bytes
  std::vector<int64_t> offsets;  // of each declaration, from the start of the file
  int64_t file_bytes = 0;

  int64_t data_bytes() const { return file_bytes - static_cast<int64_t>(header.size()); }
};

// In the order of the declarations, but wider types first, so that without gaps (which the format forbids)
// every tensor is aligned to its element. Types must be plain (no GGUF blocks) and names distinct.
SafetensorsLayout LayOutSafetensors(const std::vector<TensorDeclaration>& tensors,
                                    const SafetensorsMetadata& metadata);

// Writes a whole file, replacing one that exists. Throws Error naming it.
void WriteSafetensors(const std::filesystem::path& path,
                      const std::vector<std::pair<std::string, TensorView>>& tensors,
                      const SafetensorsMetadata& metadata = {});

}  // namespace gptq
