// Rules of an architecture file: how a value is found in a config.json. docs/architectures.md tells them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace gptq {

// Where a rule stands, for messages.
struct RulePlace {
  std::string_view architecture, field, where;
};

// Throws Error naming `origin` for anything that is no rule.
void CheckRule(const Json& rule, std::string_view origin);

// The value at a path of keys with dots between them; null if there is none.
Json FindInConfig(const Json& config, std::string_view path);
// All of config's values at these paths are as wanted: a value, a list of values of which one fits, or
// {"not": value or values}. Absent is null.
bool ConditionHolds(const Json& condition, const Json& config);

// A literal; {"key": path or paths, "default": rule, "map": {value: meaning}, "times" | "over" | "minus":
// rule}, null where the config has none and the default is null, lists mapped entry by entry; or {"cases":
// [{"if": condition, "value": rule}, ...]}, the first that holds. Throws Error where a value is missing or
// not in the map, or no case holds.
Json EvaluateRule(const Json& rule, const Json& config, const RulePlace& place);

// For each of `layers` layers, whether a rule holds: true, false or an object of which all holds:
// "list": path and "is": value, the layer's entry of a list in the config ("default": what holds without it);
// "every": n and "except_every": n, layers n - 1, 2 n - 1, ... and all but these; "from": n, those at and
// behind n; "except": list of layers.
std::vector<bool> EvaluateLayers(const Json& rule, const Json& config, int64_t layers,
                                 const RulePlace& place);

}  // namespace gptq
