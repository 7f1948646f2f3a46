#include "io/gguf_value.h"

#include <array>
#include <limits>
#include <utility>

#include "io/quoted.h"

namespace gptq {
namespace {

// Widening to 64 bits multiplies memory; no vocabulary comes near this.
constexpr int64_t kMaxArrayElements = int64_t{1} << 26;

struct TypeInfo {
  std::string_view name;
  int64_t least_bytes;  // of one value in the file
};

constexpr std::array<TypeInfo, 13> kGgufTypes = {{{"uint8", 1},
                                                  {"int8", 1},
                                                  {"uint16", 2},
                                                  {"int16", 2},
                                                  {"uint32", 4},
                                                  {"int32", 4},
                                                  {"float32", 4},
                                                  {"bool", 1},
                                                  {"string", 8},
                                                  {"array", 12},
                                                  {"uint64", 8},
                                                  {"int64", 8},
                                                  {"float64", 8}}};

GgufType ReadType(GgufCursor& cursor, const std::string& where) {
  const auto number = cursor.Read<uint32_t>("a metadata type");
  if (number >= kGgufTypes.size())
    throw Error(Concat("GGUF metadata type ", number, " is unknown"), where, kGgufDamaged);
  return static_cast<GgufType>(number);
}

int64_t ReadInteger(GgufCursor& cursor, GgufType type) {
  constexpr std::string_view kWhat = "a metadata value";
  switch (type) {
    case GgufType::kUint8:
      return cursor.Read<uint8_t>(kWhat);
    case GgufType::kInt8:
      return cursor.Read<int8_t>(kWhat);
    case GgufType::kUint16:
      return cursor.Read<uint16_t>(kWhat);
    case GgufType::kInt16:
      return cursor.Read<int16_t>(kWhat);
    case GgufType::kUint32:
      return cursor.Read<uint32_t>(kWhat);
    case GgufType::kInt32:
      return cursor.Read<int32_t>(kWhat);
    case GgufType::kInt64:
      return cursor.Read<int64_t>(kWhat);
    case GgufType::kBool:
      return cursor.Read<uint8_t>(kWhat) != 0 ? 1 : 0;
    default:
      CHECK(false);
  }
  return 0;
}

template <typename Stored, typename ReadOne>
std::vector<Stored> ReadMany(int64_t count, ReadOne read_one) {
  std::vector<Stored> values;
  values.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values.push_back(read_one());
  return values;
}

GgufValue ReadArray(GgufCursor& cursor, const std::string& where) {
  constexpr std::string_view kWhat = "a metadata array";
  GgufValue result{.type = GgufType::kArray, .element_type = ReadType(cursor, where), .value = {}};
  const GgufType type = result.element_type;
  if (type == GgufType::kArray) {
    throw Error("GGUF metadata with an array of arrays is not supported", where,
                "remove the key from the file");
  }
  const int64_t count = cursor.ReadCount(kGgufTypes[static_cast<size_t>(type)].least_bytes, kWhat);
  if (count > kMaxArrayElements) {
    throw Error(
        Concat("GGUF metadata array of ", count, " elements, at most ", kMaxArrayElements, " are read"),
        where, kGgufDamaged);
  }
  switch (type) {
    case GgufType::kString:
      result.value = ReadMany<std::string>(count, [&] { return cursor.ReadString(kWhat); });
      break;
    case GgufType::kFloat32:
      result.value = ReadMany<float>(count, [&] { return cursor.Read<float>(kWhat); });
      break;
    case GgufType::kFloat64:
      result.value = ReadMany<double>(count, [&] { return cursor.Read<double>(kWhat); });
      break;
    case GgufType::kUint64:
      result.value = ReadMany<uint64_t>(count, [&] { return cursor.Read<uint64_t>(kWhat); });
      break;
    default:
      result.value = ReadMany<int64_t>(count, [&] { return ReadInteger(cursor, type); });
  }
  return result;
}

[[noreturn]] void ThrowWrongType(const GgufFile& file, std::string_view key, std::string_view wanted) {
  const GgufValue* value = file.FindValue(key);
  std::string found(Name(value->type));
  if (value->type == GgufType::kArray) found = Concat("array of ", Name(value->element_type));
  throw Error(Concat("GGUF metadata key ", Quoted(key), " is of type ", found, ", ", wanted, " expected"),
              file.path().string(), "use a file written by a current converter");
}

[[noreturn]] void ThrowAbsent(const GgufFile& file, std::string_view key) {
  throw Error(Concat("GGUF metadata lacks the key ", Quoted(key)), file.path().string(),
              "use a file written by a current converter");
}

template <typename Optional>
auto Required(Optional value, const GgufFile& file, std::string_view key) {
  if (!value) ThrowAbsent(file, key);
  return *std::move(value);
}

}  // namespace

std::string_view Name(GgufType type) { return kGgufTypes[static_cast<size_t>(type)].name; }

GgufValue ReadGgufValue(GgufCursor& cursor, std::string_view key) {
  constexpr std::string_view kWhat = "a metadata value";
  const std::string where = Concat(cursor.path(), ", key ", Quoted(key));
  const GgufType type = ReadType(cursor, where);
  if (type == GgufType::kArray) return ReadArray(cursor, where);
  GgufValue result{.type = type, .element_type = type, .value = {}};
  switch (type) {
    case GgufType::kString:
      result.value = cursor.ReadString(kWhat);
      break;
    case GgufType::kFloat32:
      result.value = static_cast<double>(cursor.Read<float>(kWhat));
      break;
    case GgufType::kFloat64:
      result.value = cursor.Read<double>(kWhat);
      break;
    case GgufType::kUint64:
      result.value = cursor.Read<uint64_t>(kWhat);
      break;
    default:
      result.value = ReadInteger(cursor, type);
  }
  return result;
}

const GgufValue* GgufFile::FindValue(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

std::optional<int64_t> GgufFile::FindInteger(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) return std::nullopt;
  const auto* number = std::get_if<int64_t>(&value->value);
  if (number != nullptr && value->type != GgufType::kBool) return *number;
  const auto* large = std::get_if<uint64_t>(&value->value);
  if (large != nullptr && *large <= uint64_t{INT64_MAX}) return static_cast<int64_t>(*large);
  ThrowWrongType(*this, key, large != nullptr ? "a number below 2^63" : "an integer");
}

std::optional<double> GgufFile::FindFloat(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(&value->value)) return *number;
  if (const auto* number = std::get_if<uint64_t>(&value->value)) return static_cast<double>(*number);
  const auto* number = std::get_if<int64_t>(&value->value);
  if (number != nullptr && value->type != GgufType::kBool) return static_cast<double>(*number);
  ThrowWrongType(*this, key, "a number");
}

std::optional<bool> GgufFile::FindBool(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) return std::nullopt;
  if (value->type == GgufType::kBool) return std::get<int64_t>(value->value) != 0;
  ThrowWrongType(*this, key, "bool");
}

std::optional<std::string> GgufFile::FindString(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(&value->value)) return *text;
  ThrowWrongType(*this, key, "string");
}

std::optional<std::vector<int64_t>> GgufFile::FindIntegers(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) return std::nullopt;
  const auto* numbers = std::get_if<std::vector<int64_t>>(&value->value);
  if (numbers != nullptr) return *numbers;
  const auto* large = std::get_if<std::vector<uint64_t>>(&value->value);
  if (large == nullptr) ThrowWrongType(*this, key, "array of integers");
  std::vector<int64_t> converted;
  for (uint64_t number : *large) {
    if (number > uint64_t{INT64_MAX}) ThrowWrongType(*this, key, "numbers below 2^63");
    converted.push_back(static_cast<int64_t>(number));
  }
  return converted;
}

std::optional<std::vector<float>> GgufFile::FindFloats(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* numbers = std::get_if<std::vector<float>>(&value->value)) return *numbers;
  const auto* wide = std::get_if<std::vector<double>>(&value->value);
  if (wide == nullptr) ThrowWrongType(*this, key, "array of floats");
  std::vector<float> converted;
  for (double number : *wide) converted.push_back(static_cast<float>(number));
  return converted;
}

std::optional<std::string> GgufFile::FindBytes(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) return std::nullopt;
  const bool bytes = value->element_type == GgufType::kUint8 || value->element_type == GgufType::kInt8;
  const auto* numbers = std::get_if<std::vector<int64_t>>(&value->value);
  if (numbers == nullptr || !bytes) ThrowWrongType(*this, key, "array of bytes");
  std::string text;
  for (const int64_t number : *numbers) text += static_cast<char>(number);
  return text;
}

const std::vector<std::string>* GgufFile::FindStrings(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) return nullptr;
  const auto* texts = std::get_if<std::vector<std::string>>(&value->value);
  if (texts == nullptr) ThrowWrongType(*this, key, "array of strings");
  return texts;
}

int64_t GgufFile::Integer(std::string_view key) const { return Required(FindInteger(key), *this, key); }
double GgufFile::Float(std::string_view key) const { return Required(FindFloat(key), *this, key); }
std::string GgufFile::String(std::string_view key) const { return Required(FindString(key), *this, key); }

const std::vector<std::string>& GgufFile::Strings(std::string_view key) const {
  const std::vector<std::string>* texts = FindStrings(key);
  if (texts == nullptr) ThrowAbsent(*this, key);
  return *texts;
}

}  // namespace gptq
