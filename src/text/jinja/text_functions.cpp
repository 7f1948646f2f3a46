#include "text/jinja/text_functions.h"

#include <algorithm>

#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/run.h"
#include "text/unicode.h"

namespace gptq {
namespace {

size_t LastCharacter(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (text[at] & 0xC0) == 0x80) --at;
  return at;
}

}  // namespace

bool IsPythonSpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1c && c <= 0x1f); }

std::string Strip(const std::string& text, const JinjaValue* characters, JinjaSides sides, JinjaRun& run) {
  std::vector<char32_t> stripped;
  if (characters != nullptr) {
    const std::string set = TextOr(characters, "", run);
    for (size_t at = 0; at < set.size();) {
      const CodePoint c = DecodeUtf8(set, at);
      stripped.push_back(c.value);
      at += c.size;
    }
  }
  const auto goes = [&](char32_t c) {
    return characters == nullptr ? IsPythonSpace(c) : std::ranges::find(stripped, c) != stripped.end();
  };
  size_t begin = 0;
  size_t end = text.size();
  while (sides != JinjaSides::kRight && begin < end) {
    const CodePoint c = DecodeUtf8(text, begin);
    if (!goes(c.value)) break;
    begin += c.size;
  }
  while (sides != JinjaSides::kLeft && end > begin) {
    const size_t last = LastCharacter(text, end);
    if (!goes(DecodeUtf8(text, last).value)) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

std::string ReplaceText(std::string_view text, std::string_view from, std::string_view to, int64_t most,
                        JinjaRun& run) {
  std::string result;
  size_t done = 0;
  for (size_t at = FindText(text, from, 0, run); at != std::string_view::npos && most != 0; --most) {
    result.append(text.substr(done, at - done)).append(to);
    run.CheckOutput(result.size());
    done = at + from.size();
    if (from.empty()) {  // before each character and at the end
      if (at == text.size()) break;
      done = at;
      const size_t size = DecodeUtf8(text, at).size;
      result.append(text.substr(at, size));
      done = at += size;
    } else {
      at = FindText(text, from, done, run);
    }
  }
  return result.append(text.substr(std::min(done, text.size())));
}

std::string Capitalize(std::string_view text) {
  if (text.empty()) return "";
  const size_t first = DecodeUtf8(text, 0).size;
  return UpperCase(text.substr(0, first)) + LowerCase(text.substr(first));
}

std::string TitleCase(std::string_view text) {
  std::string result;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = DecodeUtf8(text, at);
    const std::string_view character = text.substr(at, c.size);
    result += inside ? LowerCase(character) : UpperCase(character);
    inside = IsLetter(c.value);
    at += c.size;
  }
  return result;
}

int64_t MissingCharacters(const JinjaValue& text, int64_t width, JinjaRun& run) {
  const int64_t length = Length(text, run), missing = width > length ? width - length : 0;
  run.SpendBytes(missing);
  return missing;
}

std::string Center(const std::string& text, int64_t width, JinjaRun& run) {
  const int64_t missing = MissingCharacters(run.Text(text), width, run);
  // As str.center: the odd one goes left where the width is odd.
  const int64_t left = missing / 2 + (missing & width & 1);
  return std::string(static_cast<size_t>(left), ' ') + text +
         std::string(static_cast<size_t>(missing - left), ' ');
}

std::vector<std::string> SplitWords(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = DecodeUtf8(text, at);
    const bool space = IsPythonSpace(c.value);
    if (!space && !inside) words.emplace_back();
    if (!space) words.back().append(text.substr(at, c.size));
    inside = !space;
    at += c.size;
  }
  return words;
}

std::vector<std::string> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  bool open = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = DecodeUtf8(text, at);
    size_t size = c.size;
    const bool is_break = (c.value >= 0xa && c.value <= 0xd) || (c.value >= 0x1c && c.value <= 0x1e) ||
                          c.value == 0x85 || c.value == 0x2028 || c.value == 0x2029;
    if (c.value == '\r' && at + 1 < text.size() && text[at + 1] == '\n') size = 2;
    if (!open) lines.emplace_back();
    open = !is_break;
    if (!is_break || keep_ends) lines.back().append(text.substr(at, size));
    at += size;
  }
  return lines;
}

}  // namespace gptq
