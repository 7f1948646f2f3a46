#include "model/architecture.h"

#include <algorithm>
#include <regex>

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

constexpr size_t kLongestText = 1000;

[[noreturn]] void Malformed(std::string_view what, std::string_view origin) {
  throw Error(Concat("not an architecture file (", what, ")"), origin,
              "compare it with architectures/llama.json");
}

// The object json[key]; an empty one where it is absent and not required.
Json Object(const Json& json, const char* key, bool required, std::string_view origin) {
  Json object = required ? json.at(key) : json.value(key, Json::object());
  if (!object.is_object()) Malformed(Concat("\"", key, "\" is not an object"), origin);
  return object;
}

// An object whose values are names.
void CheckNames(const Json& object, std::string_view origin) {
  for (const auto& [key, value] : object.items()) {
    if (value.get_ref<const std::string&>().size() > kLongestText)
      Malformed(Concat("a name of \"", key, "\" is too long"), origin);
  }
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
    throw Error(Concat("key '", key, "' has the value ", Dump(value), ", which architecture '", name,
                       "' does not know"),
                where, "pass an architecture file that does by --architecture");
  }
  return rule.at("map").at(text);
}

Architecture ParseArchitecture(std::string_view text, std::string_view origin) {
  Architecture architecture;
  architecture.json = ParseJson(text, origin);
  architecture.origin = origin;
  const Json& json = architecture.json;
  try {
    architecture.name = json.at("name").get<std::string>();
    architecture.model_types = json.at("model_types").get<std::vector<std::string>>();
    const Json fields = Object(json, "fields", true, origin);
    for (const auto& [field, rule] : fields.items()) {
      if (rule.is_object()) (void)rule.at("key").get<std::string>();
    }
    CheckNames(Object(json, "tensors", true, origin), origin);
    (void)Object(json, "required_values", false, origin);
    for (const std::string& pattern : json.value("ignored_tensors", std::vector<std::string>())) {
      if (pattern.size() > kLongestText) throw std::regex_error(std::regex_constants::error_complexity);
      (void)std::regex(pattern);
    }
    if (json.contains("gguf")) {
      const Json& gguf = json.at("gguf");
      architecture.gguf_architecture = gguf.at("architecture").get<std::string>();
      for (const char* key : {"config", "tensors"}) CheckNames(Object(gguf, key, true, origin), origin);
      CheckNames(Object(gguf, "present", false, origin), origin);
      (void)Object(gguf, "constants", false, origin);
      (void)gguf.value("interleaved_rows", std::vector<std::string>());
    }
  } catch (const Json::exception& e) {
    Malformed(e.what(), origin);
  } catch (const std::regex_error& e) {
    throw Error(Concat("'ignored_tensors' has no regular expression (", e.what(), ")"), origin,
                "correct the file");
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
              Concat("known are ", KnownNames(false),
                     "; describe another one in a file and pass it by --architecture"));
}

Architecture ArchitectureForGguf(std::string_view gguf_architecture, std::string_view where) {
  for (const EmbeddedArchitecture& file : EmbeddedArchitectures()) {
    Architecture architecture = ParseArchitecture(file.text, file.name);
    if (architecture.gguf_architecture == gguf_architecture) return architecture;
  }
  throw Error(Concat("architecture '", gguf_architecture, "' is not known in GGUF"), where,
              Concat("known are ", KnownNames(true),
                     "; describe another one in a file and pass it by --architecture"));
}

}  // namespace gptq
