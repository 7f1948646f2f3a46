// Reads the fields that an architecture file gives for one config; every problem names the field and the
// file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/architecture.h"
#include "model/config_rule.h"

namespace gptq {

class FieldReader {
 public:
  static constexpr int64_t kMaxWidth = int64_t{1} << 20;

  FieldReader(const Architecture& architecture, const Json& config, std::string_view where)
      : architecture_(architecture), config_(config), where_(where) {}

  // Null where the file has no such field.
  Json Value(std::string_view field) const {
    const Json& fields = architecture_.json.at("fields");
    return fields.contains(field) ? EvaluateRule(fields.at(std::string(field)), config_, Place(field))
                                  : Json();
  }

  // From 1 to `maximum`; absent: `fallback`, which is then to be more than 0 or is refused.
  int64_t Count(std::string_view field, int64_t fallback, int64_t maximum = kMaxWidth) const {
    const Json value = Value(field);
    if (value.is_null() && fallback > 0) return fallback;
    if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > maximum)
      Refuse(field, value, Concat("a whole number from 1 to ", maximum));
    return value.get<int64_t>();
  }
  // As Count, but 0 where it is absent or 0.
  int64_t CountOrNone(std::string_view field, int64_t maximum = kMaxWidth) const {
    const Json value = Value(field);
    return value.is_null() || value == 0 ? 0 : Count(field, 0, maximum);
  }

  double Number(std::string_view field, double fallback, double low, double high) const {
    const Json value = Value(field);
    if (value.is_null()) return fallback;
    if (!value.is_number() || !(value.get<double>() >= low && value.get<double>() <= high))
      Refuse(field, value, Concat("a number from ", low, " to ", high));
    return value.get<double>();
  }

  bool Flag(std::string_view field, bool fallback) const {
    const Json value = Value(field);
    if (value.is_null()) return fallback;
    if (!value.is_boolean()) Refuse(field, value, "true or false");
    return value.get<bool>();
  }

  template <typename T>
  T Choice(std::string_view field, const std::map<std::string, T>& known) const {
    const Json value = Value(field);
    if (value.is_string()) {
      const auto found = known.find(value.get<std::string>());
      if (found != known.end()) return found->second;
    }
    std::string names;
    for (const auto& [name, ignored] : known) names += (names.empty() ? "" : ", ") + name;
    throw Error(Concat(field, " is ", Dump(value), ", which this program does not know"), where_,
                "known are " + names);
  }
  template <typename T>
  T Choice(std::string_view field, T fallback, const std::map<std::string, T>& known) const {
    return Value(field).is_null() ? fallback : Choice(field, known);
  }

  // For each layer.
  std::vector<bool> Layers(std::string_view field, bool fallback, int64_t layers) const {
    const Json& fields = architecture_.json.at("fields");
    const Json rule = fields.contains(field) ? fields.at(std::string(field)) : Json(fallback);
    return EvaluateLayers(rule, config_, layers, Place(field));
  }

  RulePlace Place(std::string_view field) const { return {architecture_.name, field, where_}; }

 private:
  [[noreturn]] void Refuse(std::string_view field, const Json& value, const std::string& wanted) const {
    throw Error(Concat(field, " is ", Dump(value), ", must be ", wanted), where_,
                "is this the config.json of a decoder, and undamaged?");
  }

  const Architecture& architecture_;
  const Json& config_;
  std::string_view where_;
};

}  // namespace gptq
