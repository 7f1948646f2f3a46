#include "base/name_pattern.h"

#include <regex>

namespace gptq {
namespace {

constexpr size_t kLongestPattern = 1000, kLongestName = 1000;

}  // namespace

struct NamePattern::Compiled {
  std::regex regex;

  bool Finds(std::string_view name, std::regex_constants::match_flag_type flags) const {
    return name.size() <= kLongestName && std::regex_search(name.begin(), name.end(), regex, flags);
  }
};

std::optional<NamePattern> NamePattern::Parse(std::string_view text) {
  if (text.size() > kLongestPattern) return std::nullopt;
  try {
    return NamePattern(std::make_shared<const Compiled>(Compiled{std::regex(text.begin(), text.end())}));
  } catch (const std::regex_error&) {
    return std::nullopt;
  }
}

bool NamePattern::Matches(std::string_view name) const {
  return name.size() <= kLongestName && std::regex_match(name.begin(), name.end(), compiled_->regex);
}

bool NamePattern::MatchesBeginning(std::string_view name) const {
  return compiled_->Finds(name, std::regex_constants::match_continuous);
}

bool NamePattern::MatchesPart(std::string_view name) const {
  return compiled_->Finds(name, std::regex_constants::match_default);
}

}  // namespace gptq
