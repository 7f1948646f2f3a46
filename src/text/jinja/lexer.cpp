#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/unicode.h"

namespace gptq {
namespace {

constexpr std::array<std::string_view, 25> kOperators = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "*",
                                                         "/",  "%",  "~",  "<",  ">",  "=",  "(", ")", "[",
                                                         "]",  "{",  "}",  ",",  ".",  ":",  "|"};

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c); }

// \r\n and \r become \n; one line break at the end goes.
std::string NormalizedSource(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 == source.size() || source[i + 1] != '\n') text += '\n';
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return ToValidUtf8(text);
}

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view where) : text_(NormalizedSource(source)), where_(where) {}

  std::vector<JinjaToken> Tokenize() {
    while (at_ < text_.size()) {
      const size_t tag = FindTag();
      AddData(tag);
      at_ = tag;
      if (tag == text_.size()) break;
      ReadTag();
    }
    Add(JinjaToken::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void Fail(std::string_view what) const {
    throw Error(what, Concat(where_, ", line ", line_), "correct the template or give another one");
  }

  void Add(JinjaToken::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void MoveTo(size_t position) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<ptrdiff_t>(at_),
                                         text_.begin() + static_cast<ptrdiff_t>(position), '\n'));
    at_ = position;
  }

  // "{{", "{%" or "{#"; the end where there is none.
  size_t FindTag() const {
    for (size_t i = at_; i + 1 < text_.size(); ++i) {
      if (text_[i] == '{' && (text_[i + 1] == '{' || text_[i + 1] == '%' || text_[i + 1] == '#')) return i;
    }
    return text_.size();
  }

  // The text up to a tag, without what the tag strips.
  void AddData(size_t tag) {
    std::string_view data = std::string_view(text_).substr(at_, tag - at_);
    if (tag < text_.size()) data = StripBefore(data, tag);
    if (!data.empty()) Add(JinjaToken::Kind::kData, std::string(data));
    MoveTo(tag);
  }

  std::string_view StripBefore(std::string_view data, size_t tag) const {
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : ' ';
    if (sign == '-') {
      while (!data.empty() && IsSpace(data.back())) data.remove_suffix(1);
      return data;
    }
    if (sign == '+' || text_[tag + 1] == '{') return data;
    const size_t line = data.rfind('\n') + 1;  // 0 without one
    const bool starts_line = line > 0 || at_ == 0 || text_[at_ - 1] == '\n';
    if (!starts_line) return data;
    const bool only_spaces = std::all_of(data.begin() + static_cast<ptrdiff_t>(line), data.end(), IsSpace);
    return only_spaces ? data.substr(0, line) : data;
  }

  // Behind a tag's end: "-" strips white space, "+" nothing, else a block tag takes one line break.
  void FinishTag(size_t end, char sign, bool takes_break) {
    MoveTo(end);
    if (sign == '-') {
      while (end < text_.size() && IsSpace(text_[end])) ++end;
    } else if (sign != '+' && takes_break && end < text_.size() && text_[end] == '\n') {
      ++end;
    }
    MoveTo(end);
  }

  void ReadTag() {
    const char kind = text_[at_ + 1];
    if (kind == '#') return SkipComment();
    const size_t start = at_;
    size_t position = at_ + 2;
    if (position < text_.size() && (text_[position] == '-' || text_[position] == '+')) ++position;
    MoveTo(position);
    if (kind == '%' && ReadRaw(start)) return;
    Add(kind == '%' ? JinjaToken::Kind::kBlockBegin : JinjaToken::Kind::kPrintBegin, "");
    ReadExpression(kind == '%');
  }

  void SkipComment() {
    const bool signed_begin = at_ + 2 < text_.size() && (text_[at_ + 2] == '-' || text_[at_ + 2] == '+');
    const size_t begin = at_ + (signed_begin ? 3 : 2);
    const size_t end = text_.find("#}", begin);
    if (end == std::string::npos) Fail("a comment without its end '#}'");
    const char sign = end > begin ? text_[end - 1] : ' ';
    FinishTag(end + 2, sign, true);
  }

  bool TakeWord(size_t& position, std::string_view word) const {
    while (position < text_.size() && IsSpace(text_[position])) ++position;
    if (text_.compare(position, word.size(), word) != 0) return false;
    position += word.size();
    return true;
  }

  // The end of a block tag from `position`, spaces before it; the sign before "%}" through `sign`.
  bool TakeBlockEnd(size_t& position, char& sign) const {
    while (position < text_.size() && IsSpace(text_[position])) ++position;
    sign = position < text_.size() ? text_[position] : ' ';
    if (sign == '-' || sign == '+') ++position;
    if (text_.compare(position, 2, "%}") != 0) return false;
    position += 2;
    return true;
  }

  // {% raw %} text {% endraw %}: the text as it stands.
  bool ReadRaw(size_t start) {
    size_t position = at_;
    char sign = ' ';
    if (!TakeWord(position, "raw") || !TakeBlockEnd(position, sign)) return false;
    FinishTag(position, sign, false);
    for (size_t tag = text_.find("{%", at_); tag != std::string::npos; tag = text_.find("{%", tag + 2)) {
      size_t end = tag + 2;
      if (end < text_.size() && (text_[end] == '-' || text_[end] == '+')) ++end;
      if (!TakeWord(end, "endraw") || !TakeBlockEnd(end, sign)) continue;
      AddData(tag);
      FinishTag(end, sign, true);
      return true;
    }
    MoveTo(std::max(at_, start));
    Fail("'raw' without its 'endraw'");
  }

  bool TakeTagEnd(bool block) {
    if (!brackets_.empty()) return false;
    size_t position = at_;
    const char sign = text_[position];
    if (sign == '-' || (sign == '+' && block)) ++position;
    if (text_.compare(position, 2, block ? "%}" : "}}") != 0) return false;
    Add(block ? JinjaToken::Kind::kBlockEnd : JinjaToken::Kind::kPrintEnd, "");
    FinishTag(position + 2, sign, block);
    return true;
  }

  void ReadExpression(bool block) {
    brackets_.clear();
    while (true) {
      size_t position = at_;
      while (position < text_.size() && IsSpace(text_[position])) ++position;
      MoveTo(position);
      if (at_ == text_.size()) Fail(block ? "a tag without its end '%}'" : "a tag without its end '}}'");
      if (TakeTagEnd(block)) return;
      const char c = text_[at_];
      if (c == '\'' || c == '"') {
        ReadText(c);
      } else if (IsDigit(c)) {
        ReadNumber();
      } else if (IsNameStart(c)) {
        size_t end = at_;
        while (end < text_.size() && IsNamePart(text_[end])) ++end;
        Add(JinjaToken::Kind::kName, text_.substr(at_, end - at_));
        at_ = end;
      } else {
        ReadOperator();
      }
    }
  }

  void ReadOperator() {
    const std::string_view rest = std::string_view(text_).substr(at_);
    const auto* found = std::ranges::find_if(kOperators, [&](auto op) { return rest.starts_with(op); });
    if (found == kOperators.end())
      Fail(Concat("an unexpected character '", rest.substr(0, DecodeUtf8(rest, 0).size), "'"));
    const char c = found->front();
    if (c == '(' || c == '[' || c == '{') brackets_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty() || brackets_.back() != c) Fail(Concat("an unexpected '", c, "'"));
      brackets_.pop_back();
    }
    Add(JinjaToken::Kind::kOperator, std::string(*found));
    at_ += found->size();
  }

  std::string TakeDigits() {
    std::string digits;
    while (at_ < text_.size() && (IsDigit(text_[at_]) || text_[at_] == '_')) {
      if (text_[at_] != '_') digits += text_[at_];
      ++at_;
    }
    return digits;
  }

  void ReadNumber() {
    std::string number = TakeDigits();
    bool is_float = false;
    const auto digit_at = [&](size_t position) {
      return position < text_.size() && IsDigit(text_[position]);
    };
    if (at_ < text_.size() && text_[at_] == '.' && digit_at(at_ + 1)) {
      is_float = true;
      ++at_;
      number += '.';
      number += TakeDigits();
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      const bool sign = at_ + 1 < text_.size() && (text_[at_ + 1] == '+' || text_[at_ + 1] == '-');
      if (digit_at(at_ + (sign ? 2 : 1))) {
        is_float = true;
        number += text_.substr(at_, sign ? 2 : 1);
        at_ += sign ? 2 : 1;
        number += TakeDigits();
      }
    }
    if (at_ < text_.size() && IsNameStart(text_[at_])) Fail(Concat("a number '", number, text_[at_], "'"));
    Add(is_float ? JinjaToken::Kind::kFloat : JinjaToken::Kind::kInteger, number);
  }

  void ReadText(char quote) {
    const int line = line_;
    std::string value;
    size_t position = at_ + 1;
    while (true) {
      if (position >= text_.size()) Fail("a string without its end");
      const char c = text_[position++];
      if (c == quote) break;
      if (c == '\\') {
        if (position >= text_.size()) Fail("a string without its end");
        position = ReadEscape(position, value);
      } else {
        value += c;
      }
    }
    MoveTo(position);
    tokens_.push_back({JinjaToken::Kind::kText, ToValidUtf8(value), line});
  }

  // Python's escapes; `position` is behind the backslash.
  size_t ReadEscape(size_t position, std::string& value) const {
    constexpr std::string_view kLetters = "nrtabfv0\\'\"\n";
    constexpr std::string_view kValues("\n\r\t\a\b\f\v\0\\'\"", 11);
    const char c = text_[position++];
    if (c == 'x' || c == 'u' || c == 'U') {
      const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const std::string digits = text_.substr(position, count);
      const bool hex = digits.size() == count &&
                       std::ranges::all_of(digits, [](unsigned char d) { return std::isxdigit(d) != 0; });
      if (!hex) Fail(Concat("a string with a damaged escape '\\", c, digits, "'"));
      AppendUtf8(static_cast<char32_t>(std::stoul(digits, nullptr, 16)), value);
      return position + count;
    }
    if (c == '\n') return position;
    if (IsDigit(c) && (c != '0' || (position < text_.size() && IsDigit(text_[position]))))
      Fail("a string with an octal escape, which is not supported");
    const size_t index = kLetters.find(c);
    if (index < kValues.size()) {
      value += kValues[index];
    } else {
      value += {'\\', c};
    }
    return position;
  }

  std::string text_;
  std::string_view where_;
  size_t at_ = 0;
  int line_ = 1;
  std::string brackets_;  // the closing ones that are still to come
  std::vector<JinjaToken> tokens_;
};

}  // namespace

std::vector<JinjaToken> TokenizeJinja(std::string_view source, std::string_view where) {
  return Lexer(source, where).Tokenize();
}

}  // namespace gptq
