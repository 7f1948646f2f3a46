// How GGUF files (version 3, little-endian) are laid out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/gguf.h"
#include "io/tensor_file.h"

namespace gptq {

using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;  // in the order of the file

// Metadata values of the types that llama.cpp expects. Integers must fit.
GgufValue GgufUint32(int64_t value);
GgufValue GgufFloat32(double value);
GgufValue GgufBool(bool value);
GgufValue GgufString(std::string value);
GgufValue GgufStrings(std::vector<std::string> values);
GgufValue GgufFloats(std::vector<float> values);
GgufValue GgufBools(const std::vector<bool>& values);
GgufValue GgufInt32s(std::vector<int64_t> values);
GgufValue GgufUint8s(std::string_view bytes);  // an array of uint8

// Tensors in the order of their declarations, aligned to general.alignment of the metadata, else to 32 bytes.
// Names must be distinct, shapes outermost first.
TensorFileLayout LayOutGguf(const std::vector<TensorDeclaration>& tensors, const GgufMetadata& metadata);

}  // namespace gptq
