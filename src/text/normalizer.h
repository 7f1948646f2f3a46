// What a tokenizer does to text before it is cut: Unicode normal forms, replacements, prefixes.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace gptq {

// Immutable. The default one changes nothing.
class Normalizer {
 public:
  Normalizer() = default;
  // From the `normalizer` of a tokenizer.json, null included. Throws Error naming a kind that is not
  // supported.
  Normalizer(const Json& description, std::string_view where);

  bool empty() const { return steps_.empty(); }
  // `text` must be valid UTF-8; so is the result.
  std::string Apply(std::string_view text) const;

 private:
  using Step = std::function<std::string(std::string)>;
  void Add(const Json& description, std::string_view where);
  void AddReplace(const Json& description, std::string_view where);

  std::vector<Step> steps_;
};

// `pattern` of a tokenizer.json, {"String": ...} or {"Regex": ...}.
struct Pattern {
  bool is_regex;
  std::string text;
};
Pattern ParsePattern(const Json& description, std::string_view where);

// Every `from` (not empty) becomes `to`.
std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to);

}  // namespace gptq
