#include "io/gguf_writer.h"

#include <cstring>
#include <limits>
#include <set>
#include <string_view>

#include "base/error.h"
#include "io/checked_size.h"

namespace gptq {
namespace {

constexpr int64_t kDefaultAlignment = 32;

template <typename T>
void Append(std::string& bytes, T value) {
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  bytes.append(raw, sizeof(T));
}

void AppendText(std::string& bytes, std::string_view text) {
  Append<uint64_t>(bytes, text.size());
  bytes += text;
}

void AppendInteger(std::string& bytes, GgufType type, int64_t value) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kBool:
      return Append(bytes, static_cast<uint8_t>(value));
    case GgufType::kInt8:
      return Append(bytes, static_cast<int8_t>(value));
    case GgufType::kUint16:
      return Append(bytes, static_cast<uint16_t>(value));
    case GgufType::kInt16:
      return Append(bytes, static_cast<int16_t>(value));
    case GgufType::kUint32:
      return Append(bytes, static_cast<uint32_t>(value));
    case GgufType::kInt32:
      return Append(bytes, static_cast<int32_t>(value));
    default:
      CHECK(type == GgufType::kInt64);
      return Append(bytes, value);
  }
}

// One value of a type, from what GgufValue widens it to.
void AppendOne(std::string& bytes, GgufType type, int64_t value) { AppendInteger(bytes, type, value); }
void AppendOne(std::string& bytes, GgufType, uint64_t value) { Append(bytes, value); }
void AppendOne(std::string& bytes, GgufType, float value) { Append(bytes, value); }
void AppendOne(std::string& bytes, GgufType type, double value) {
  if (type == GgufType::kFloat32) return Append(bytes, static_cast<float>(value));
  Append(bytes, value);
}
void AppendOne(std::string& bytes, GgufType, const std::string& value) { AppendText(bytes, value); }

template <typename T>
void AppendOne(std::string& bytes, GgufType type, const std::vector<T>& values) {
  Append(bytes, static_cast<uint32_t>(type));
  Append<uint64_t>(bytes, values.size());
  for (const T& value : values) AppendOne(bytes, type, value);
}

void AppendValue(std::string& bytes, const GgufValue& value) {
  Append(bytes, static_cast<uint32_t>(value.type));
  std::visit([&](const auto& v) { AppendOne(bytes, value.element_type, v); }, value.value);
}

int64_t Alignment(const GgufMetadata& metadata) {
  for (const auto& [key, value] : metadata) {
    if (key != "general.alignment") continue;
    const int64_t* alignment = std::get_if<int64_t>(&value.value);
    CHECK(alignment != nullptr && *alignment > 0 && *alignment % 8 == 0);
    return *alignment;
  }
  return kDefaultAlignment;
}

int64_t Aligned(int64_t offset, int64_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

GgufValue Scalar(GgufType type, auto value) { return {type, type, std::move(value)}; }
GgufValue Array(GgufType type, auto values) { return {GgufType::kArray, type, std::move(values)}; }

}  // namespace

GgufValue GgufUint32(int64_t value) {
  CHECK(value >= 0 && value <= std::numeric_limits<uint32_t>::max());
  return Scalar(GgufType::kUint32, value);
}
GgufValue GgufFloat32(double value) { return Scalar(GgufType::kFloat32, value); }
GgufValue GgufBool(bool value) { return Scalar(GgufType::kBool, int64_t{value}); }
GgufValue GgufString(std::string value) { return Scalar(GgufType::kString, std::move(value)); }
GgufValue GgufStrings(std::vector<std::string> values) { return Array(GgufType::kString, std::move(values)); }
GgufValue GgufFloats(std::vector<float> values) { return Array(GgufType::kFloat32, std::move(values)); }
GgufValue GgufBools(const std::vector<bool>& values) {
  return Array(GgufType::kBool, std::vector<int64_t>(values.begin(), values.end()));
}
GgufValue GgufInt32s(std::vector<int64_t> values) { return Array(GgufType::kInt32, std::move(values)); }
GgufValue GgufUint8s(std::string_view bytes) {
  std::vector<int64_t> values;
  for (const char byte : bytes) values.push_back(static_cast<uint8_t>(byte));
  return Array(GgufType::kUint8, std::move(values));
}

TensorFileLayout LayOutGguf(const std::vector<TensorDeclaration>& tensors, const GgufMetadata& metadata) {
  const int64_t alignment = Alignment(metadata);
  TensorFileLayout layout;
  std::string& header = layout.header;
  header = "GGUF";
  Append<uint32_t>(header, 3);
  Append<uint64_t>(header, tensors.size());
  Append<uint64_t>(header, metadata.size());
  for (const auto& [key, value] : metadata) {
    AppendText(header, key);
    AppendValue(header, value);
  }
  std::set<std::string_view> names;
  int64_t end = 0;
  for (const TensorDeclaration& tensor : tensors) {
    CHECK(names.insert(tensor.name).second);
    const std::optional<int64_t> bytes = CheckedByteSize(tensor.dtype, tensor.shape);
    CHECK(bytes);
    AppendText(header, tensor.name);
    Append(header, static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size)
      Append(header, static_cast<uint64_t>(*size));
    Append(header, GgmlTypeNumber(tensor.dtype));
    Append(header, static_cast<uint64_t>(end));
    layout.offsets.push_back(end);
    end = Aligned(end + *bytes, alignment);
  }
  const auto written = static_cast<int64_t>(header.size());
  header.append(static_cast<size_t>(Aligned(written, alignment) - written), '\0');
  const auto data_begin = static_cast<int64_t>(header.size());
  for (int64_t& offset : layout.offsets) offset += data_begin;
  layout.file_bytes = data_begin + end;
  return layout;
}

}  // namespace gptq
