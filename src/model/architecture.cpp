#include "model/architecture.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/name_pattern.h"
#include "model/config_rule.h"

namespace gptq {
namespace {

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

// `extended` and what `json` says beyond it.
Json Extend(const Json& extended, const Json& json) {
  Json merged = extended;
  if (!json.contains("gguf")) merged.erase("gguf");
  for (const auto& [key, value] : json.items()) {
    const bool table = value.is_object() && merged.value(key, Json()).is_object() && key != "if";
    if (key == "gguf" && table) {
      merged[key] = Extend(merged[key], value);
    } else if (table) {
      merged[key].update(value);
    } else {
      merged[key] = value;
    }
  }
  return merged;
}

// The file's JSON with what it extends; `depth` files are extended already.
Json ReadExtended(std::string_view text, std::string_view origin, int depth) {
  Json json = ParseJson(text, origin);
  if (!json.is_object() || !json.contains("extends")) return json;
  const Json name = json.at("extends");
  for (const EmbeddedArchitecture& file : EmbeddedArchitectures()) {
    if (depth < 8 && name.is_string() && name == std::string(file.name.substr(0, file.name.rfind('.'))))
      return Extend(ReadExtended(file.text, file.name, depth + 1), json);
  }
  throw Error(Concat("it extends ", Dump(name), ", which is not known"), origin,
              "extend a file of architectures/");
}

// An object whose values are names, or null.
void CheckNames(const Json& object, std::string_view origin) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_null()) continue;
    if (value.get_ref<const std::string&>().size() > kLongestText)
      Malformed(Concat("a name of \"", key, "\" is too long"), origin);
  }
}

// Lists of roles name roles that have tensors.
void CheckGgufRoles(const Json& gguf, std::string_view origin) {
  const auto check = [&](const std::string& role) {
    if (!gguf.at("tensors").contains(role)) Malformed(Concat("\"gguf\" names no tensor for ", role), origin);
  };
  for (const char* list : {"interleaved_rows", "concatenated_rows", "with_norm_offset", "whole_tensors"}) {
    for (const std::string& role : gguf.value(list, std::vector<std::string>())) check(role);
  }
  const Json joined = gguf.value("joined", Json::object());
  for (const auto& [role, parts] : joined.items()) {
    check(role);
    for (const char* part : {"key", "value"}) (void)parts.at(part).get<std::string>();
  }
}

}  // namespace

Architecture ParseArchitecture(std::string_view text, std::string_view origin) {
  Architecture architecture;
  architecture.json = ReadExtended(text, origin, 0);
  architecture.origin = origin;
  const Json& json = architecture.json;
  try {
    architecture.name = json.at("name").get<std::string>();
    architecture.model_types = json.at("model_types").get<std::vector<std::string>>();
    const Json fields = Object(json, "fields", true, origin);
    for (const auto& [field, rule] : fields.items()) CheckRule(rule, origin);
    const Json tensors = Object(json, "tensors", true, origin);
    for (const auto& [role, rule] : tensors.items()) CheckRule(rule, origin);
    (void)json.value("optional_prefix", "");
    (void)Object(json, "required_values", false, origin);
    for (const std::string& pattern : json.value("ignored_tensors", std::vector<std::string>())) {
      if (!NamePattern::Parse(pattern))
        Malformed(Concat("\"ignored_tensors\" has the pattern ", Dump(pattern)), origin);
    }
    if (json.contains("gguf")) {
      const Json& gguf = json.at("gguf");
      architecture.gguf_architecture = gguf.at("architecture").get<std::string>();
      for (const char* table : {"config", "tensors", "metadata"}) {
        const Json rules = Object(gguf, table, table != std::string_view("metadata"), origin);
        for (const auto& [key, rule] : rules.items()) CheckRule(rule, origin);
      }
      CheckNames(Object(gguf, "present", false, origin), origin);
      for (const char* table : {"constants", "if", "joined"}) (void)Object(gguf, table, false, origin);
      CheckGgufRoles(gguf, origin);
    }
  } catch (const Json::exception& e) {
    Malformed(e.what(), origin);
  }
  return architecture;
}

Architecture ReadArchitectureFile(const std::filesystem::path& path) {
  return ParseArchitecture(ReadTextFile(path), path.string());
}

namespace {

const std::vector<Architecture>& KnownArchitectures() {
  static const std::vector<Architecture> known = [] {
    std::vector<Architecture> parsed;
    for (const EmbeddedArchitecture& file : EmbeddedArchitectures())
      parsed.push_back(ParseArchitecture(file.text, file.name));
    return parsed;
  }();
  return known;
}

std::string KnownNames(bool gguf) {
  std::set<std::string> names;
  for (const Architecture& architecture : KnownArchitectures()) {
    if (!gguf) names.insert(architecture.model_types.begin(), architecture.model_types.end());
    if (gguf && !architecture.gguf_architecture.empty()) names.insert(architecture.gguf_architecture);
  }
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

}  // namespace

Architecture ArchitectureForModelType(std::string_view model_type, std::string_view where) {
  for (const Architecture& architecture : KnownArchitectures()) {
    if (std::ranges::count(architecture.model_types, model_type) > 0) return architecture;
  }
  throw Error(Concat("architecture '", model_type, "' is not known"), where,
              Concat("known are ", KnownNames(false),
                     "; describe another one in a file and pass it by --architecture"));
}

Architecture ArchitectureForGguf(std::string_view gguf_architecture, const Json& metadata,
                                 std::string_view where) {
  const Architecture* unconditional = nullptr;
  for (const Architecture& architecture : KnownArchitectures()) {
    if (architecture.gguf_architecture != gguf_architecture) continue;
    const Json& section = architecture.json.at("gguf");
    if (!section.contains("if")) {
      unconditional = &architecture;
    } else if (ConditionHolds(section.at("if"), metadata)) {
      return architecture;
    }
  }
  if (unconditional != nullptr) return *unconditional;
  throw Error(Concat("architecture '", gguf_architecture, "' is not known in GGUF"), where,
              Concat("known are ", KnownNames(true),
                     "; describe another one in a file and pass it by --architecture"));
}

}  // namespace gptq
