// Members of JSON objects with errors that name the file and the key. A null member counts as absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace gptq {

inline const Json* FindField(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

inline const Json& RequiredField(const Json& object, std::string_view key, std::string_view where) {
  const Json* field = FindField(object, key);
  if (field == nullptr) throw Error(Concat("'", key, "' is missing"), where, "fetch the file again");
  return *field;
}

[[noreturn]] inline void WrongType(std::string_view key, std::string_view expected, std::string_view where) {
  throw Error(Concat("'", key, "' is not ", expected), where, "correct the file or fetch it again");
}

inline std::optional<std::string> FindString(const Json& object, std::string_view key,
                                             std::string_view where) {
  const Json* field = FindField(object, key);
  if (field == nullptr) return std::nullopt;
  if (!field->is_string()) WrongType(key, "a string", where);
  return field->get<std::string>();
}

inline std::string RequiredString(const Json& object, std::string_view key, std::string_view where) {
  const Json& field = RequiredField(object, key, where);
  if (!field.is_string()) WrongType(key, "a string", where);
  return field.get<std::string>();
}

inline std::optional<bool> FindBool(const Json& object, std::string_view key, std::string_view where) {
  const Json* field = FindField(object, key);
  if (field == nullptr) return std::nullopt;
  if (!field->is_boolean()) WrongType(key, "true or false", where);
  return field->get<bool>();
}

inline const Json& RequiredArray(const Json& object, std::string_view key, std::string_view where) {
  const Json& field = RequiredField(object, key, where);
  if (!field.is_array()) WrongType(key, "a list", where);
  return field;
}

// A token id: 0 .. 2^31 - 1.
inline int32_t ToTokenId(const Json& value, std::string_view key, std::string_view where) {
  if (!value.is_number_integer() || value < 0 || value > INT32_MAX) WrongType(key, "a token id", where);
  return value.get<int32_t>();
}

}  // namespace gptq
