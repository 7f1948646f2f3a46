#include "model/architecture.h"

#include <algorithm>

#include "base/error.h"

namespace gptq {
namespace {

std::string KnownNames(bool gguf) {
  std::string names;
  for (const EmbeddedArchitecture& file : EmbeddedArchitectures()) {
    const Architecture architecture = ParseArchitecture(file.text, file.name);
    if (gguf && architecture.gguf_architecture.empty()) continue;
    for (const std::string& type : architecture.model_types) names += (names.empty() ? "" : ", ") + type;
  }
  return names;
}

}  // namespace

Json Architecture::Field(const std::string& field, const Json& config, std::string_view where) const {
  const Json& fields = json.at("fields");
  if (!fields.contains(field)) return nullptr;
  const Json& rule = fields.at(field);
  if (!rule.is_object()) return rule;
  const auto key = rule.at("key").get<std::string>();
  Json value = config.contains(key) ? config.at(key) : Json();
  if (value.is_null()) {
    if (!rule.contains("default")) {
      throw Error(Concat("key '", key, "' is missing"), where, Concat("architecture '", name, "' needs it"));
    }
    value = rule.at("default");
  }
  if (!rule.contains("map") || value.is_null()) return value;
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (!rule.at("map").contains(text)) {
    throw Error(Concat("key '", key, "' has the value ", Dump(value), ", which architecture '", name, "' does not know"),
                where, "pass an architecture file that does by --architecture");
  }
  return rule.at("map").at(text);
}

Architecture ParseArchitecture(std::string_view text, std::string_view origin) {
  Architecture architecture;
  architecture.json = ParseJson(text, origin);
  architecture.origin = origin;
  try {
    architecture.name = architecture.json.at("name").get<std::string>();
    architecture.model_types = architecture.json.at("model_types").get<std::vector<std::string>>();
    for (const auto& [field, rule] : architecture.json.at("fields").items()) {
      if (rule.is_object()) (void)rule.at("key").get<std::string>();
    }
    for (const auto& [role, tensor] : architecture.json.at("tensors").items()) (void)tensor.get<std::string>();
    if (architecture.json.contains("gguf")) {
      architecture.gguf_architecture = architecture.json.at("gguf").at("architecture").get<std::string>();
      for (const auto& [role, tensor] : architecture.json.at("gguf").at("tensors").items()) (void)tensor.get<std::string>();
    }
  } catch (const Json::exception& e) {
    throw Error(Concat("not an architecture file (", e.what(), ")"), origin, "compare it with architectures/llama.json");
  }
  return architecture;
}

Architecture ReadArchitectureFile(const std::filesystem::path& path) {
  return ParseArchitecture(ReadTextFile(path), path.string());
}

Architecture ArchitectureForModelType(std::string_view model_type, std::string_view where) {
  for (const EmbeddedArchitecture& file : EmbeddedArchitectures()) {
    Architecture architecture = ParseArchitecture(file.text, file.name);
    if (std::ranges::count(architecture.model_types, model_type) > 0) return architecture;
  }
  throw Error(Concat("architecture '", model_type, "' is not known"), where,
              Concat("known are ", KnownNames(false), "; describe another one in a file and pass it by --architecture"));
}

Architecture ArchitectureForGguf(std::string_view gguf_architecture, std::string_view where) {
  for (const EmbeddedArchitecture& file : EmbeddedArchitectures()) {
    Architecture architecture = ParseArchitecture(file.text, file.name);
    if (architecture.gguf_architecture == gguf_architecture) return architecture;
  }
  throw Error(Concat("architecture '", gguf_architecture, "' is not known in GGUF"), where,
              Concat("known are ", KnownNames(true), "; describe another one in a file and pass it by --architecture"));
}

}  // namespace gptq
