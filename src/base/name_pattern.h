// Regular expressions over the names of tensors and modules.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

namespace gptq {

class NamePattern {
 public:
  // ECMAScript, at most 1000 characters; nothing for what is longer or no regular expression.
  static std::optional<NamePattern> Parse(std::string_view text);

  // The whole name, its beginning, any part of it. Names of more than 1000 characters match nothing: the
  // search recurses for each character.
  bool Matches(std::string_view name) const;
  bool MatchesBeginning(std::string_view name) const;
  bool MatchesPart(std::string_view name) const;

 private:
  struct Compiled;
  explicit NamePattern(std::shared_ptr<const Compiled> compiled) : compiled_(std::move(compiled)) {}

  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace gptq
