#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/unicode.h"

namespace gptq {
namespace {

// Members of a class: Unicode's White_Space (PCRE2's own \s has U+180E too), and Oniguruma's word characters.
constexpr std::string_view kSpaceItems = R"(\t-\r\x{85}\p{Z})";
constexpr std::string_view kWordItems = R"(\p{L}\p{M}\p{N}\p{Pc})";
constexpr std::string_view kHexItems = "0-9a-fA-F";
// To PCRE2 these mean the characters that the script is used with (Script_Extensions) unless told otherwise.
constexpr std::array<std::string_view, 12> kScripts = {"Arabic",   "Bopomofo", "Cyrillic", "Devanagari",
                                                       "Greek",    "Han",      "Hangul",   "Hebrew",
                                                       "Hiragana", "Katakana", "Latin",    "Thai"};

constexpr size_t kJitStackStart = 64 << 10;
constexpr size_t kJitStackMost = 16 << 20;

class SyntaxRewriter {
 public:
  SyntaxRewriter(std::string_view pattern, std::string_view where) : pattern_(pattern), where_(where) {}

  std::string Rewrite() {
    while (position_ < pattern_.size()) {
      const char c = pattern_[position_];
      if (c == '\\') {
        Escape();
      } else if (c == '[') {
        OpenClass();
      } else if (c == ']' && depth_ > 0) {
        CloseClass();
      } else if (c == '&' && depth_ > 0 && pattern_.substr(position_).starts_with("&&")) {
        Unsupported("an intersection of character classes");
      } else {
        result_.push_back(c);
        ++position_;
      }
    }
    return result_;
  }

 private:
  [[noreturn]] void Unsupported(std::string_view what) const {
    throw Error(Concat("the regular expression '", pattern_, "' has ", what, ", which is not supported"),
                where_, "rewrite the pattern without it");
  }

  void OpenClass() {
    const std::string_view rest = pattern_.substr(position_);
    if (depth_ == 0) {
      result_.push_back('[');
      ++depth_;
      ++position_;
      return;
    }
    if (rest.starts_with("[:")) {  // POSIX class, such as [:alpha:]
      const size_t end = rest.find(":]");
      if (end == std::string_view::npos) Unsupported("an unfinished POSIX class");
      result_.append(rest.substr(0, end + 2));
      position_ += end + 2;
      return;
    }
    if (rest.starts_with("[^")) Unsupported("a negated class inside a class");
    ++depth_;  // a nested class is a union: its members join the outer one
    ++position_;
  }

  void CloseClass() {
    if (--depth_ == 0) result_.push_back(']');
    ++position_;
  }

  void Class(std::string_view items, bool negated) {
    if (depth_ > 0) {
      if (negated) Unsupported("a negated shorthand inside a class");
      result_.append(items);
    } else {
      result_.append(negated ? "[^" : "[").append(items).push_back(']');
    }
  }

  void Escape() {
    if (position_ + 1 >= pattern_.size()) Unsupported("a lone backslash at its end");
    const char c = pattern_[position_ + 1];
    position_ += 2;
    switch (c) {
      case 's':
        return Class(kSpaceItems, false);
      case 'w':
        return Class(kWordItems, false);
      case 'h':
        return Class(kHexItems, false);
      case 'H':
        return Class(kHexItems, true);
      case 'W':
        return depth_ > 0 ? Verbatim(c) : Class(kWordItems, true);
      case 'S':
        return depth_ > 0 ? Verbatim(c) : Class(kSpaceItems, true);
      case 'u':
        return Unicode();
      case 'p':
      case 'P':
        return Property(c);
      default:
        return Verbatim(c);
    }
  }

  void Verbatim(char c) {
    result_.push_back('\\');
    result_.push_back(c);
  }

  void Property(char c) {
    Verbatim(c);
    std::string_view name = pattern_.substr(position_);
    if (!name.starts_with('{')) return;
    const std::string_view negation = name.starts_with("{^") ? "^" : "";
    name.remove_prefix(1 + negation.size());
    name = name.substr(0, name.find('}'));
    if (std::find(kScripts.begin(), kScripts.end(), name) == kScripts.end()) return;
    result_.append("{").append(negation).append("sc:");
    position_ += 1 + negation.size();
  }

  void Unicode() {
    if (position_ + 4 > pattern_.size()) Unsupported("an unfinished \\u");
    result_.append("\\x{").append(pattern_.substr(position_, 4)).push_back('}');
    position_ += 4;
  }

  std::string_view pattern_;
  std::string_view where_;
  size_t position_ = 0;
  int depth_ = 0;  // of open classes
  std::string result_;
};

std::string Pcre2Message(int code) {
  PCRE2_UCHAR text[256];
  if (pcre2_get_error_message(code, text, sizeof text) < 0) return Concat("error ", code);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct Pcre2Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};

std::string ToPcre2Syntax(std::string_view pattern, std::string_view where) {
  return SyntaxRewriter(pattern, where).Rewrite();
}

size_t CharacterSize(std::string_view text, size_t position) { return DecodeUtf8(text, position).size; }

struct Regex::Code {
  std::unique_ptr<pcre2_code, Pcre2Free> compiled;
  std::string source;  // for messages
  bool has_jit = false;
};

Regex::Regex(std::string_view pattern, std::string_view where) : code_(std::make_unique<Code>()) {
  code_->source = pattern;
  const std::string rewritten = ToPcre2Syntax(pattern, where);
  const std::unique_ptr<pcre2_compile_context, Pcre2Free> context(pcre2_compile_context_create(nullptr));
  CHECK(context != nullptr);
  // In the Ruby syntax ^ and $ are line anchors.
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  int code = 0;
  PCRE2_SIZE offset = 0;
  code_->compiled.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rewritten.data()), rewritten.size(),
                                      kOptions, &code, &offset, context.get()));
  if (code_->compiled == nullptr) {
    throw Error(
        Concat("the regular expression '", pattern, "' is wrong or not supported: ", Pcre2Message(code)),
        where, "correct the pattern");
  }
  code_->has_jit = pcre2_jit_compile(code_->compiled.get(), PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

struct RegexMatcher::State {
  const Regex::Code* code;
  std::unique_ptr<pcre2_match_data, Pcre2Free> data;
  std::unique_ptr<pcre2_match_context, Pcre2Free> context;
  std::unique_ptr<pcre2_jit_stack, Pcre2Free> stack;
};

RegexMatcher::RegexMatcher(const Regex& regex) : state_(std::make_unique<State>()) {
  state_->code = regex.code_.get();
  state_->data.reset(pcre2_match_data_create(1, nullptr));
  state_->context.reset(pcre2_match_context_create(nullptr));
  CHECK(state_->data != nullptr && state_->context != nullptr);
  if (state_->code->has_jit) {
    state_->stack.reset(pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr));
    if (state_->stack != nullptr) pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->stack.get());
  }
}

RegexMatcher::~RegexMatcher() = default;

std::optional<Span> RegexMatcher::Find(std::string_view text, size_t start) {
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data() == nullptr ? "" : text.data());
  const pcre2_code* code = state_->code->compiled.get();
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  if (state_->code->has_jit) {
    result = pcre2_jit_match(code, subject, text.size(), start, 0, state_->data.get(), state_->context.get());
  }
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
    result = pcre2_match(code, subject, text.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         state_->data.get(), state_->context.get());
  }
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0) {
    throw Error(Concat("the regular expression '", state_->code->source, "' gave up: ", Pcre2Message(result)),
                "pre-tokenizing the text", "give the text in smaller parts");
  }
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(state_->data.get());
  // \K in a look-ahead can put the start behind the end.
  if (ends[0] > ends[1])
    throw Error("a match that ends before it begins", state_->code->source, "correct the pattern");
  return Span{ends[0], ends[1]};
}

}  // namespace gptq
