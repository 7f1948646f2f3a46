#include "model/config_rule.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"

namespace gptq {
namespace {

constexpr size_t kLongestPath = 1000;

[[noreturn]] void NoRule(std::string_view what, const Json& rule, std::string_view origin) {
  throw Error(Concat("not a rule (", what, "): ", Dump(rule).substr(0, 200)), origin,
              "compare it with architectures/llama.json");
}

void CheckPath(const Json& path, const Json& rule, std::string_view origin) {
  if (!path.is_string() || path.get_ref<const std::string&>().size() > kLongestPath)
    NoRule("a key must be a short text", rule, origin);
}

void CheckCases(const Json& rule, std::string_view origin) {
  if (!rule.at("cases").is_array() || rule.size() != 1) NoRule("\"cases\" is a list, alone", rule, origin);
  for (const Json& item : rule.at("cases")) {
    if (!item.is_object() || !item.contains("value") || !item.value("if", Json::object()).is_object())
      NoRule("a case has \"if\" and \"value\"", rule, origin);
    CheckRule(item.at("value"), origin);
  }
}

[[noreturn]] void Strange(const Json& value, const char* what, const RulePlace& place) {
  throw Error(Concat(place.field, ": ", Dump(value), " is not ", what), place.where,
              Concat("is this the config.json of '", place.architecture, "', and undamaged?"));
}

Json FirstOf(const Json& paths, const Json& config) {
  if (paths.is_string()) return FindInConfig(config, paths.get_ref<const std::string&>());
  for (const Json& path : paths) {
    Json value = FindInConfig(config, path.get_ref<const std::string&>());
    if (!value.is_null()) return value;
  }
  return nullptr;
}

std::string NameOf(const Json& paths) {
  return paths.is_string() ? paths.get<std::string>() : paths.front().get<std::string>();
}

constexpr int64_t kMostCount = int64_t{1} << 31;

Json Product(const Json& a, const Json& b, const RulePlace& place) {
  if (!a.is_number() || !b.is_number()) Strange(a.is_number() ? b : a, "a number", place);
  const double product = a.get<double>() * b.get<double>();
  const auto small = [](const Json& x) {
    return x.is_number_integer() && std::abs(x.get<double>()) < kMostCount;
  };
  return small(a) && small(b) ? Json(a.get<int64_t>() * b.get<int64_t>()) : Json(product);
}

Json Difference(const Json& a, const Json& b, const RulePlace& place) {
  for (const Json& x : {a, b}) {
    if (!x.is_number_integer() || std::abs(x.get<double>()) > kMostCount) Strange(x, "a count", place);
  }
  return a.get<int64_t>() - b.get<int64_t>();
}

// Such that a width times the quotient, rounded down, is the count again where a count was divided.
Json Quotient(const Json& a, const Json& b, const RulePlace& place) {
  if (!a.is_number() || !b.is_number()) Strange(a.is_number() ? b : a, "a number", place);
  const double count = a.get<double>(), width = b.get<double>();
  if (width == 0) Strange(b, "a number to divide by", place);
  const double quotient = count / width;
  if (quotient == std::floor(quotient) && std::abs(quotient) < 1e9) return static_cast<int64_t>(quotient);
  return std::floor(quotient * width) < count ? std::nextafter(quotient, INFINITY) : quotient;
}

Json Mapped(const Json& value, const Json& rule, const RulePlace& place) {
  if (value.is_array()) {
    Json list = Json::array();
    for (const Json& entry : value) list.push_back(Mapped(entry, rule, place));
    return list;
  }
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (!rule.at("map").contains(text)) {
    throw Error(Concat("key '", NameOf(rule.at("key")), "' has the value ", Dump(value),
                       ", which architecture '", place.architecture, "' does not know"),
                place.where, "pass an architecture file that does by --architecture");
  }
  return rule.at("map").at(text);
}

// What one key of a rule for layers says.
class LayerRule {
 public:
  LayerRule(const Json& rule, const Json& config, int64_t layers, const RulePlace& place)
      : rule_(rule), config_(config), layers_(layers), place_(place) {}

  void Apply(std::vector<bool>& holds) const {
    if (rule_.contains("list")) ApplyList(holds);
    if (rule_.contains("every")) ApplyEvery(Number("every", 1), true, holds);
    if (rule_.contains("except_every")) ApplyEvery(Number("except_every", 1), false, holds);
    if (rule_.contains("from")) {
      const int64_t first = Number("from", 0);
      for (int64_t i = 0; i < std::min(first, layers_); ++i) holds[static_cast<size_t>(i)] = false;
    }
    if (rule_.contains("except")) ApplyExcept(holds);
  }

 private:
  int64_t Number(const char* key, int64_t least) const {
    const Json value = EvaluateRule(rule_.at(key), config_, place_);
    if (!value.is_number_integer() || value.get<int64_t>() < least)
      Strange(value, "a whole number that can be", place_);
    return value.get<int64_t>();
  }

  void ApplyList(std::vector<bool>& holds) const {
    const Json list = FirstOf(rule_.at("list"), config_);
    if (list.is_null()) {
      const std::vector<bool> fallback =
          EvaluateLayers(rule_.value("default", Json(false)), config_, layers_, place_);
      for (size_t i = 0; i < holds.size(); ++i) holds[i] = holds[i] && fallback[i];
      return;
    }
    if (!list.is_array() || static_cast<int64_t>(list.size()) < layers_)
      Strange(list, "a list with an entry for each layer", place_);
    for (size_t i = 0; i < holds.size(); ++i) holds[i] = holds[i] && list.at(i) == rule_.at("is");
  }

  void ApplyEvery(int64_t step, bool wanted, std::vector<bool>& holds) const {
    for (int64_t i = 0; i < layers_; ++i) {
      if (((i + 1) % step == 0) != wanted) holds[static_cast<size_t>(i)] = false;
    }
  }

  void ApplyExcept(std::vector<bool>& holds) const {
    const Json list = EvaluateRule(rule_.at("except"), config_, place_);
    if (!list.is_array()) Strange(list, "a list of layers", place_);
    for (const Json& entry : list) {
      if (!entry.is_number_integer()) Strange(list, "a list of layers", place_);
      const auto layer = entry.get<int64_t>();
      if (layer >= 0 && layer < layers_) holds[static_cast<size_t>(layer)] = false;
    }
  }

  const Json& rule_;
  const Json& config_;
  int64_t layers_;
  const RulePlace& place_;
};

}  // namespace

void CheckRule(const Json& rule, std::string_view origin) {
  static const std::set<std::string, std::less<>> kKeys = {"key",   "default",      "map",  "times",
                                                           "over",  "minus",        "list", "is",
                                                           "every", "except_every", "from", "except"};
  if (!rule.is_object()) return;
  if (rule.contains("cases")) return CheckCases(rule, origin);
  if (rule.empty()) NoRule("it says nothing", rule, origin);
  for (const auto& [key, value] : rule.items()) {
    if (!kKeys.contains(key)) NoRule(Concat("\"", key, "\" is not known"), rule, origin);
  }
  for (const char* key : {"key", "list"}) {
    if (!rule.contains(key)) continue;
    const Json& paths = rule.at(key);
    if (!paths.is_array()) {
      CheckPath(paths, rule, origin);
      continue;
    }
    if (paths.empty()) NoRule("a list of keys is empty", rule, origin);
    for (const Json& path : paths) CheckPath(path, rule, origin);
  }
  if (rule.contains("list") != rule.contains("is")) NoRule("\"list\" goes with \"is\"", rule, origin);
  if (rule.contains("map") && !rule.at("map").is_object()) NoRule("\"map\" is no object", rule, origin);
  for (const char* key : {"default", "times", "over", "minus", "every", "except_every", "from", "except"}) {
    if (rule.contains(key)) CheckRule(rule.at(key), origin);
  }
}

Json FindInConfig(const Json& config, std::string_view path) {
  const Json* place = &config;
  while (true) {
    const size_t dot = path.find('.');
    const std::string key(path.substr(0, dot));
    if (!place->is_object() || !place->contains(key)) return nullptr;
    place = &place->at(key);
    if (dot == std::string_view::npos) return *place;
    path.remove_prefix(dot + 1);
  }
}

bool ConditionHolds(const Json& condition, const Json& config) {
  for (const auto& [path, wanted] : condition.items()) {
    const Json value = FindInConfig(config, path);
    bool holds = false;
    if (wanted.is_object() && wanted.contains("not")) {
      const Json& unwanted = wanted.at("not");
      holds = unwanted.is_array() ? std::ranges::count(unwanted, value) == 0 : value != unwanted;
    } else if (wanted.is_array()) {
      holds = std::ranges::count(wanted, value) > 0;
    } else {
      holds = value == wanted;
    }
    if (!holds) return false;
  }
  return true;
}

Json EvaluateRule(const Json& rule, const Json& config, const RulePlace& place) {
  if (!rule.is_object()) return rule;
  if (rule.contains("cases")) {
    for (const Json& item : rule.at("cases")) {
      if (ConditionHolds(item.value("if", Json::object()), config))
        return EvaluateRule(item.at("value"), config, place);
    }
    throw Error(Concat("no case of '", place.field, "' of architecture '", place.architecture, "' holds"),
                place.where, "pass an architecture file that fits by --architecture");
  }
  if (!rule.contains("key")) return rule;  // of layers
  Json value = FirstOf(rule.at("key"), config);
  if (value.is_null()) {
    if (!rule.contains("default")) {
      throw Error(Concat("key '", NameOf(rule.at("key")), "' is missing"), place.where,
                  Concat("architecture '", place.architecture, "' needs it"));
    }
    value = EvaluateRule(rule.at("default"), config, place);
  }
  if (value.is_null()) return value;
  if (rule.contains("times")) return Product(value, EvaluateRule(rule.at("times"), config, place), place);
  if (rule.contains("over")) return Quotient(value, EvaluateRule(rule.at("over"), config, place), place);
  if (rule.contains("minus")) return Difference(value, EvaluateRule(rule.at("minus"), config, place), place);
  return rule.contains("map") ? Mapped(value, rule, place) : value;
}

std::vector<bool> EvaluateLayers(const Json& rule, const Json& config, int64_t layers,
                                 const RulePlace& place) {
  const Json found = EvaluateRule(rule, config, place);
  if (found.is_boolean()) return std::vector<bool>(static_cast<size_t>(layers), found.get<bool>());
  if (!found.is_object()) Strange(found, "a rule for layers", place);
  std::vector<bool> holds(static_cast<size_t>(layers), true);
  LayerRule(found, config, layers, place).Apply(holds);
  return holds;
}

}  // namespace gptq
