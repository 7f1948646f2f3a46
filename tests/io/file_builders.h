// Bytes of small files, right and wrong ones.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace gptq {

template <typename Number>
std::string LittleEndian(Number number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

inline std::string SafetensorsBytes(std::string_view header, std::string_view data) {
  return LittleEndian<uint64_t>(header.size()) + std::string(header) + std::string(data);
}

inline std::filesystem::path Put(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  CHECK(file.good());
  return path;
}

inline std::string Slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  CHECK(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Pieces of a GGUF file: header, then metadata, then tensor infos, then data.
struct GgufBytes {
  static std::string Header(uint64_t tensors, uint64_t values, uint32_t version = 3) {
    return "GGUF" + LittleEndian(version) + LittleEndian(tensors) + LittleEndian(values);
  }
  static std::string String(std::string_view text) {
    return LittleEndian<uint64_t>(text.size()) + std::string(text);
  }
  static std::string Key(std::string_view key, uint32_t type) { return String(key) + LittleEndian(type); }
  static std::string Array(uint32_t type, uint64_t count) { return LittleEndian(type) + LittleEndian(count); }
  static std::string TensorInfo(std::string_view name, const std::vector<uint64_t>& dimensions, uint32_t type,
                                uint64_t offset) {
    std::string bytes = String(name) + LittleEndian(static_cast<uint32_t>(dimensions.size()));
    for (uint64_t dimension : dimensions) bytes += LittleEndian(dimension);
    return bytes + LittleEndian(type) + LittleEndian(offset);
  }
  static std::string Padded(std::string bytes, size_t alignment = 32) {
    bytes.append((alignment - bytes.size() % alignment) % alignment, '\0');
    return bytes;
  }
};

}  // namespace gptq
