#include "text/normalizer.h"

#include <memory>
#include <utility>

#include "text/byte_letters.h"
#include "text/character_map.h"
#include "text/json_fields.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace gptq {
namespace {

std::string ReplaceMatches(const Regex& regex, std::string_view text, std::string_view replacement) {
  std::string result;
  size_t done = 0;
  RegexMatcher(regex).FindAll(text, [&](Span match) {
    result.append(text.substr(done, match.begin - done)).append(replacement);
    done = match.end;
  });
  return result.append(text.substr(done));
}

std::string StripSpaces(std::string_view text, bool left, bool right) {
  size_t begin = 0;
  size_t end = text.size();
  while (left && begin < end) {
    const CodePoint c = DecodeUtf8(text, begin);
    if (!IsWhiteSpace(c.value)) break;
    begin += c.size;
  }
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (!IsWhiteSpace(DecodeUtf8(text, last).value)) break;
    end = last;
  }
  return std::string(text.substr(begin, end - begin));
}

std::string WithoutMarks(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = DecodeUtf8(text, i);
    if (!IsMark(c.value)) result.append(text.substr(i, c.size));
    i += c.size;
  }
  return result;
}

std::optional<NormalizationForm> FormFromName(std::string_view name) {
  if (name == "NFC") return NormalizationForm::kNfc;
  if (name == "NFD") return NormalizationForm::kNfd;
  if (name == "NFKC") return NormalizationForm::kNfkc;
  if (name == "NFKD") return NormalizationForm::kNfkd;
  return std::nullopt;
}

}  // namespace

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  result.reserve(text.size());
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, done)) {
    result.append(text.substr(done, at - done)).append(to);
    done = at + from.size();
  }
  return result.append(text.substr(done));
}

Pattern ParsePattern(const Json& description, std::string_view where) {
  const Json& pattern = RequiredField(description, "pattern", where);
  if (const auto text = FindString(pattern, "String", where)) return {false, *text};
  if (const auto text = FindString(pattern, "Regex", where)) return {true, *text};
  throw Error(Concat("unknown pattern ", Dump(pattern)), where, "'String' and 'Regex' are supported");
}

Normalizer::Normalizer(const Json& description, std::string_view where) { Add(description, where); }

void Normalizer::Add(const Json& description, std::string_view where) {
  if (description.is_null()) return;
  const std::string type = RequiredString(description, "type", where);
  if (type == "Sequence") {
    for (const Json& step : RequiredArray(description, "normalizers", where)) Add(step, where);
  } else if (const auto form = FormFromName(type)) {
    steps_.push_back([form](std::string text) { return Normalize(text, *form); });
  } else if (type == "Lowercase") {
    steps_.push_back([](std::string text) { return LowerCase(text); });
  } else if (type == "StripAccents") {
    steps_.push_back([](std::string text) { return WithoutMarks(text); });
  } else if (type == "Strip") {
    const bool left = FindBool(description, "strip_left", where).value_or(true);
    const bool right = FindBool(description, "strip_right", where).value_or(true);
    steps_.push_back([=](std::string text) { return StripSpaces(text, left, right); });
  } else if (type == "Prepend") {
    const std::string prefix = RequiredString(description, "prepend", where);
    steps_.push_back([=](std::string text) { return text.empty() ? text : prefix + text; });
  } else if (type == "Replace") {
    AddReplace(description, where);
  } else if (type == "Precompiled") {
    const std::string text = RequiredString(description, "precompiled_charsmap", where);
    if (text.empty()) return;
    const auto map = std::make_shared<const CharacterMap>(DecodeBase64(text, where), where);
    steps_.push_back([map](std::string input) { return map->Apply(input); });
  } else if (type == "ByteLevel") {
    steps_.push_back([](std::string text) { return BytesToLetters(text); });
  } else {
    throw Error(Concat("the normalizer '", type, "' is not supported"), where,
                "use a model whose tokenizer has another normalizer");
  }
}

void Normalizer::AddReplace(const Json& description, std::string_view where) {
  const Pattern pattern = ParsePattern(description, where);
  const std::string content = RequiredString(description, "content", where);
  if (pattern.is_regex) {
    const auto regex = std::make_shared<const Regex>(pattern.text, where);
    steps_.push_back([=](std::string text) { return ReplaceMatches(*regex, text, content); });
  } else if (!pattern.text.empty()) {
    steps_.push_back([=](std::string text) { return ReplaceAll(text, pattern.text, content); });
  }
}

std::string Normalizer::Apply(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) result = step(std::move(result));
  return result;
}

}  // namespace gptq
