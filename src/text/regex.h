// Regular expressions as tokenizer files write them (Oniguruma's Ruby syntax), run by PCRE2.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace gptq {

// A span of a text, in bytes.
struct Span {
  size_t begin;
  size_t end;
};

// A compiled pattern; immutable, may be used by many threads through a RegexMatcher each.
class Regex {
 public:
  // Throws Error naming `where` for a pattern that is wrong or that means something else to PCRE2.
  Regex(std::string_view pattern, std::string_view where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

 private:
  friend class RegexMatcher;
  struct Code;
  std::unique_ptr<Code> code_;
};

// The memory of a search. For one thread; the Regex must outlive it.
class RegexMatcher {
 public:
  explicit RegexMatcher(const Regex& regex);
  ~RegexMatcher();
  RegexMatcher(const RegexMatcher&) = delete;
  RegexMatcher& operator=(const RegexMatcher&) = delete;

  // First match in `text` (valid UTF-8) that begins at or after `start`; text before `start` is seen by
  // look-behinds. Throws Error where the pattern backtracks beyond all measure.
  std::optional<Span> Find(std::string_view text, size_t start);
  // Calls visit(Span) for all matches from left to right. Matches do not overlap; an empty one is skipped
  // directly behind another.
  template <typename Visit>
  void FindAll(std::string_view text, Visit visit);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The pattern in PCRE2's syntax, with white space, word characters and nested classes as Oniguruma reads
// them.
std::string ToPcre2Syntax(std::string_view pattern, std::string_view where);

// Bytes of the character at `position`, at least 1.
size_t CharacterSize(std::string_view text, size_t position);

template <typename Visit>
void RegexMatcher::FindAll(std::string_view text, Visit visit) {
  size_t start = 0;
  std::optional<size_t> last_end;
  while (start <= text.size()) {
    const std::optional<Span> match = Find(text, start);
    if (!match) return;
    if (match->begin == match->end && last_end == match->end) {
      start = match->end + (match->end < text.size() ? CharacterSize(text, match->end) : 1);
      continue;
    }
    visit(*match);
    start = match->end;
    last_end = match->end;
  }
}

}  // namespace gptq
