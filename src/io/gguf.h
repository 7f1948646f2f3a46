// One GGUF file (github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3, little-endian: typed metadata,
// then tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/tensor.h"
#include "io/mapped_file.h"

namespace gptq {

// As numbered in the file.
enum class GgufType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

// A metadata value with the type it has in the file. Integers and booleans are widened to 64 bits, floats to
// double (float arrays stay float).
struct GgufValue {
  GgufType type = GgufType::kUint8;          // kArray for arrays
  GgufType element_type = GgufType::kUint8;  // of arrays; otherwise = type
  std::variant<int64_t, uint64_t, double, std::string, std::vector<int64_t>, std::vector<uint64_t>,
               std::vector<float>, std::vector<double>, std::vector<std::string>>
      value;
};

// Number of the type in enum ggml_type of ggml.h. Types that GGUF lacks are a bug of the caller's.
uint32_t GgmlTypeNumber(DType dtype);

// Read-only and safe to share between threads. Every size, count, offset and type is checked when the file is
// opened.
class GgufFile {
 public:
  // Throws Error naming the file, and the key or tensor where there is one.
  static GgufFile Open(const std::filesystem::path& path);
  // Does the file begin like a GGUF file? False when it cannot be read.
  static bool LooksLike(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  const MappedFile& file() const { return *file_; }
  int version() const { return version_; }
  int64_t alignment() const { return alignment_; }  // bytes; of the data and of each tensor in it

  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  const GgufValue* FindValue(std::string_view key) const;

  // Metadata by key. Nothing when the key is absent; Error naming file and key when the value has another
  // type. Integers of any width are taken where they fit, integers where a float is asked for too.
  std::optional<int64_t> FindInteger(std::string_view key) const;
  std::optional<double> FindFloat(std::string_view key) const;
  std::optional<bool> FindBool(std::string_view key) const;
  std::optional<std::string> FindString(std::string_view key) const;
  std::optional<std::vector<int64_t>> FindIntegers(std::string_view key) const;
  std::optional<std::vector<float>> FindFloats(std::string_view key) const;
  std::optional<std::string> FindBytes(std::string_view key) const;         // an array of uint8 or int8
  const std::vector<std::string>* FindStrings(std::string_view key) const;  // lives as long as this object

  // The same; Error when the key is absent.
  int64_t Integer(std::string_view key) const;
  double Float(std::string_view key) const;
  std::string String(std::string_view key) const;
  const std::vector<std::string>& Strings(std::string_view key) const;

  // Views into the mapped file, which lives as long as this object or a copy of it. Shapes are outermost
  // first, the reverse of the file's order. May be empty: a file that holds only a vocabulary.
  const std::map<std::string, TensorView, std::less<>>& tensors() const { return tensors_; }
  std::optional<TensorView> Find(std::string_view name) const;
  TensorView Get(std::string_view name) const;  // throws Error when there is none

 private:
  std::shared_ptr<const MappedFile> file_;
  int version_ = 0;
  int64_t alignment_ = 32;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::map<std::string, TensorView, std::less<>> tensors_;
};

}  // namespace gptq
