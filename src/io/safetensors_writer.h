// How safetensors files are laid out, and one written in one go.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor.h"
#include "io/tensor_file.h"

namespace gptq {

using SafetensorsMetadata = std::map<std::string, std::string>;

// Padded to a header of a multiple of 64 bytes. In the order of the declarations, but wider types first, so
// that without gaps (which the format forbids) every tensor is aligned to its element. Types must be plain
// (no GGUF blocks) and names distinct.
TensorFileLayout LayOutSafetensors(const std::vector<TensorDeclaration>& tensors,
                                   const SafetensorsMetadata& metadata);

// Writes a whole file, replacing one that exists. Throws Error naming it.
void WriteSafetensors(const std::filesystem::path& path,
                      const std::vector<std::pair<std::string, TensorView>>& tensors,
                      const SafetensorsMetadata& metadata = {});

}  // namespace gptq
