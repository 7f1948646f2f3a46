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
  // Removed, not truncated: ext4 writes a truncated file to the disk when it is closed, which takes
  // milliseconds.
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  std::ofstream file(path, std::ios::binary);
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

// Everything the format has: each scalar type, arrays, two tensors, another alignment.
inline std::string RichGguf() {
  using Bytes = GgufBytes;
  const std::string values =
      Bytes::Key("general.alignment", 4) + LittleEndian<uint32_t>(64) + Bytes::Key("u8", 0) +
      LittleEndian<uint8_t>(200) + Bytes::Key("i8", 1) + LittleEndian<int8_t>(-100) + Bytes::Key("u16", 2) +
      LittleEndian<uint16_t>(60000) + Bytes::Key("i16", 3) + LittleEndian<int16_t>(-30000) +
      Bytes::Key("u32", 4) + LittleEndian<uint32_t>(4000000000) + Bytes::Key("i32", 5) +
      LittleEndian<int32_t>(-2000000000) + Bytes::Key("f32", 6) + LittleEndian(0.5f) + Bytes::Key("yes", 7) +
      "\x01" + Bytes::Key("text", 8) + Bytes::String("words") + Bytes::Key("u64", 10) +
      LittleEndian<uint64_t>(uint64_t{1} << 40) + Bytes::Key("huge", 10) +
      LittleEndian<uint64_t>(~uint64_t{0}) + Bytes::Key("i64", 11) +
      LittleEndian<int64_t>(-(int64_t{1} << 40)) + Bytes::Key("f64", 12) + LittleEndian(0.1) +
      Bytes::Key("texts", 9) + Bytes::Array(8, 3) + Bytes::String("a") + Bytes::String("") +
      Bytes::String("ccc") + Bytes::Key("floats", 9) + Bytes::Array(6, 2) + LittleEndian(1.5f) +
      LittleEndian(-2.5f) + Bytes::Key("ints", 9) + Bytes::Array(5, 2) + LittleEndian<int32_t>(-7) +
      LittleEndian<int32_t>(8) + Bytes::Key("longs", 9) + Bytes::Array(10, 1) + LittleEndian<uint64_t>(9) +
      Bytes::Key("doubles", 9) + Bytes::Array(12, 1) + LittleEndian(0.25) + Bytes::Key("none", 9) +
      Bytes::Array(4, 0);
  const std::string infos =
      Bytes::TensorInfo("m", {32, 2, 1}, 8, 64) + Bytes::TensorInfo("v", {3}, 0, 0);  // Q8_0 and F32
  return Bytes::Padded(Bytes::Header(2, 20) + values + infos, 64) + Bytes::Padded(std::string(12, 'v'), 64) +
         std::string(68, 'm');
}

}  // namespace gptq
