#include "report/fields.h"

#include <filesystem>

namespace gptq {

const Json& FieldOf(const Json& object, std::string_view path) {
  static const Json null;
  const Json* at = &object;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const auto found = at->is_object() ? at->find(path.substr(0, slash)) : at->end();
    if (!at->is_object() || found == at->end()) return null;
    at = &*found;
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return *at;
}

std::optional<double> NumberIn(const Json& object, std::string_view path) {
  const Json& value = FieldOf(object, path);
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

std::optional<std::string> TextIn(const Json& object, std::string_view path) {
  const Json& value = FieldOf(object, path);
  return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
}

std::vector<Json> ObjectsIn(const Json& object, std::string_view path) {
  std::vector<Json> objects;
  const Json& value = FieldOf(object, path);
  if (!value.is_array()) return objects;
  for (const Json& element : value) {
    if (element.is_object()) objects.push_back(element);
  }
  return objects;
}

std::string FileName(const std::string& path) {
  const std::filesystem::path whole(path);
  const std::string name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  return name.empty() ? path : name;
}

}  // namespace gptq
