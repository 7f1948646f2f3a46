#include "text/decoder.h"

#include "text/byte_letters.h"
#include "text/json_fields.h"
#include "text/normalizer.h"
#include "text/vocabulary.h"

namespace gptq {

TokenDecoder::TokenDecoder(const Json& description, std::string_view where) {
  if (description.is_null()) {
    spaced_ = true;
  } else {
    Add(description, where);
  }
}

void TokenDecoder::Add(const Json& description, std::string_view where) {
  const std::string type = RequiredString(description, "type", where);
  if (type == "Sequence") {
    for (const Json& step : RequiredArray(description, "decoders", where)) Add(step, where);
  } else if (type == "ByteLevel") {
    byte_level_ = true;
  } else if (type == "ByteFallback") {
    byte_fallback_ = true;
  } else if (type == "Fuse") {
    // Bytes are joined in any case.
  } else if (type == "Replace") {
    const Pattern pattern = ParsePattern(description, where);
    if (pattern.is_regex)
      throw Error("a decoder that replaces by regular expression is not supported", where, "use 'String'");
    if (!pattern.text.empty()) {
      replacements_.emplace_back(pattern.text, RequiredString(description, "content", where));
    }
  } else if (type == "Strip") {
    AddStrip(description, where);
  } else if (type == "Metaspace") {
    const std::string space = FindString(description, "replacement", where).value_or("\u2581");
    const bool legacy = FindBool(description, "add_prefix_space", where).value_or(true);
    const std::string scheme =
        FindString(description, "prepend_scheme", where).value_or(legacy ? "always" : "never");
    if (space.empty())
      throw Error("a Metaspace decoder with an empty replacement", where, "correct the file");
    if (scheme != "never") dropped_in_first_ = space;
    replacements_.emplace_back(space, " ");
  } else {
    throw Error(Concat("the decoder '", type, "' is not supported"), where,
                "use a model whose tokenizer has another decoder");
  }
}

void TokenDecoder::AddStrip(const Json& description, std::string_view where) {
  const std::string content = RequiredString(description, "content", where);
  const Json& start = RequiredField(description, "start", where);
  const Json& stop = RequiredField(description, "stop", where);
  if (content.size() != 1 || !start.is_number_integer() || start < 0 || stop != 0) {
    throw Error(Concat("the decoder ", Dump(description), " is not supported"), where,
                "only stripping one ASCII character at the start of the text is");
  }
  strip_ = content[0];
  strip_most_ += start.get<size_t>();
}

std::string TokenDecoder::Bytes(std::string_view token, Kind kind, bool first) const {
  const std::string separator = spaced_ && !first ? " " : "";
  if (kind == Kind::kSpecial) return separator + std::string(token);
  if (kind == Kind::kModel && byte_fallback_) {
    if (const auto byte = ByteOfToken(token)) return std::string(1, static_cast<char>(*byte));
  }
  if (kind == Kind::kModel && byte_level_) {
    if (auto bytes = LettersToBytes(token)) return *bytes;
  }
  std::string text(token);
  if (first && !dropped_in_first_.empty()) text = ReplaceAll(text, dropped_in_first_, "");
  for (const auto& [from, to] : replacements_) text = ReplaceAll(text, from, to);
  return separator + text;
}

}  // namespace gptq
