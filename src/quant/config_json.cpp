#include "quant/config_json.h"

#include "base/error.h"
#include "base/name_pattern.h"

namespace gptq::config_json {

[[noreturn]] void Bad(std::string_view where, std::string_view key, const Json& value,
                      std::string_view what_to_do) {
  throw Error(Concat("\"", key, "\" is ", Dump(value)), where, what_to_do);
}

int64_t Integer(const Json& json, std::string_view key, int64_t otherwise, std::string_view where) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return otherwise;
  constexpr int64_t kLimit = int64_t{1} << 31;
  const bool small = found->is_number_integer() && *found > -kLimit && *found < kLimit;
  if (!small) Bad(where, key, *found, "it must be a whole number");
  return found->get<int64_t>();
}

bool Boolean(const Json& json, std::string_view key, bool otherwise, std::string_view where) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return otherwise;
  if (!found->is_boolean()) Bad(where, key, *found, "it must be true or false");
  return found->get<bool>();
}

std::string Text(const Json& json, std::string_view key, std::string_view otherwise, std::string_view where) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::string(otherwise);
  if (!found->is_string()) Bad(where, key, *found, "it must be a string");
  return found->get<std::string>();
}

void CheckPattern(std::string_view key, const std::string& pattern, std::string_view where) {
  if (NamePattern::Parse(pattern)) return;
  throw Error(Concat("\"", key, "\" has the pattern ", Dump(pattern)), where,
              "it must be a regular expression (ECMAScript) of at most 1000 characters");
}

}  // namespace gptq::config_json
