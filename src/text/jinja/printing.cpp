#include "text/jinja/printing.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/jinja/operators.h"
#include "text/jinja/run.h"
#include "text/unicode.h"

namespace gptq {
namespace {

using Kind = JinjaValue::Kind;

// The shortest digits that read back as the same number, in Python's layout.
std::string FloatText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char buffer[64];
  const double size = std::fabs(number);
  const bool exponent = size != 0 && (size < 1e-4 || size >= 1e16);
  const auto format = exponent ? std::chars_format::scientific : std::chars_format::fixed;
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number, format).ptr;
  std::string text(buffer, end);
  if (!exponent && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string Escape(const char* format, uint32_t value) {
  char buffer[16];
  std::snprintf(buffer, sizeof(buffer), format, value);
  return buffer;
}

// repr of a str.
std::string Quote(const std::string& text) {
  const bool twice = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = twice ? '"' : '\'';
  std::string result(1, quote);
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = DecodeUtf8(text, at);
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\') {
      result += {'\\', static_cast<char>(c.value)};
    } else if (c.value == '\n') {
      result += "\\n";
    } else if (c.value == '\r') {
      result += "\\r";
    } else if (c.value == '\t') {
      result += "\\t";
    } else if (c.value < 0x20 || (c.value >= 0x7f && c.value < 0xa1) || c.value == 0xad) {
      result += Escape("\\x%02x", c.value);
    } else {
      result.append(text, at, c.size);
    }
    at += c.size;
  }
  return result + quote;
}

void AppendRepr(const JinjaValue& value, JinjaRun& run, std::string& text);

void AppendItems(const JinjaValue& value, JinjaRun& run, std::string& text) {
  for (size_t i = 0; i < value.items().size(); ++i) {
    if (i > 0) text += ", ";
    AppendRepr(value.items()[i], run, text);
  }
}

void AppendRepr(const JinjaValue& value, JinjaRun& run, std::string& text) {
  run.Step();
  const JinjaRun::Nested nested(run);
  run.CheckOutput(text.size());
  if (value.IsText()) {
    text += Quote(value.text());
  } else if (value.Is(Kind::kList)) {
    text += '[';
    AppendItems(value, run, text);
    text += ']';
  } else if (value.Is(Kind::kTuple)) {
    text += '(';
    AppendItems(value, run, text);
    text += value.items().size() == 1 ? ",)" : ")";
  } else if (value.Is(Kind::kDict)) {
    text += '{';
    const char* separator = "";
    for (const auto& [key, item] : value.dict().items) {
      text += separator;
      AppendRepr(key, run, text);
      text += ": ";
      AppendRepr(item, run, text);
      separator = ", ";
    }
    text += '}';
  } else if (!value.IsDefined()) {
    text += "Undefined";
  } else {
    text += ToText(value, run);
  }
}

std::string QuoteJson(const std::string& text, bool ascii) {
  std::string result = "\"";
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = DecodeUtf8(text, at);
    constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f";
    constexpr std::string_view kLetters = "\"\\nrtbf";
    const size_t escape = c.value < 0x80 ? kEscaped.find(static_cast<char>(c.value)) : std::string_view::npos;
    if (escape != std::string_view::npos) {
      result += {'\\', kLetters[escape]};
    } else if (c.value < 0x20 || (ascii && c.value >= 0x7f && c.value < 0x10000)) {
      result += c.value == 0x7f ? "\x7f" : Escape("\\u%04x", c.value);
    } else if (ascii && c.value >= 0x10000) {
      result += Escape("\\u%04x", 0xd800 + ((c.value - 0x10000) >> 10));
      result += Escape("\\u%04x", 0xdc00 + ((c.value - 0x10000) & 0x3ff));
    } else {
      result.append(text, at, c.size);
    }
    at += c.size;
  }
  return result + "\"";
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, JinjaRun& run) : style_(style), run_(run) {}

  std::string text;

  void Write(const JinjaValue& value, int level) {
    run_.Step();
    const JinjaRun::Nested nested(run_);
    run_.CheckOutput(text.size());
    switch (value.kind()) {
      case Kind::kNone:
        text += "null";
        return;
      case Kind::kBool:
        text += value.integer() != 0 ? "true" : "false";
        return;
      case Kind::kInteger:
        text += std::to_string(value.integer());
        return;
      case Kind::kFloat:
        text += std::isnan(value.number())   ? "NaN"
                : std::isinf(value.number()) ? (value.number() < 0 ? "-Infinity" : "Infinity")
                                             : FloatText(value.number());
        return;
      case Kind::kText:
        text += QuoteJson(value.text(), style_.ascii);
        return;
      case Kind::kList:
      case Kind::kTuple:
        return WriteList(value, level);
      case Kind::kDict:
        return WriteDict(value, level);
      default:
        RequireDefined(value, run_);
        run_.Fail(Concat("a ", TypeName(value), " has no form in JSON"));
    }
  }

 private:
  void Break(int level) {
    if (style_.indent < 0) return;
    text += '\n';
    text.append(static_cast<size_t>(style_.indent) * static_cast<size_t>(level), ' ');
  }

  void WriteList(const JinjaValue& value, int level) {
    if (value.items().empty()) {
      text += "[]";
      return;
    }
    text += '[';
    for (size_t i = 0; i < value.items().size(); ++i) {
      if (i > 0) text += style_.item_separator;
      Break(level + 1);
      Write(value.items()[i], level + 1);
    }
    Break(level);
    text += ']';
  }

  std::string Key(const JinjaValue& key) {
    if (key.IsText()) return key.text();
    if (!key.IsNumber() && !key.Is(Kind::kNone)) run_.Fail("a key that JSON does not have");
    JsonWriter inner(style_, run_);
    inner.Write(key, 0);
    return inner.text;
  }

  void WriteDict(const JinjaValue& value, int level) {
    std::vector<std::pair<std::string, const JinjaValue*>> items;
    for (const auto& [key, item] : value.dict().items) items.emplace_back(Key(key), &item);
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    if (items.empty()) {
      text += "{}";
      return;
    }
    text += '{';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) text += style_.item_separator;
      Break(level + 1);
      text += QuoteJson(items[i].first, style_.ascii) + style_.key_separator;
      Write(*items[i].second, level + 1);
    }
    Break(level);
    text += '}';
  }

  const JsonStyle& style_;
  JinjaRun& run_;
};

}  // namespace

std::string ToText(const JinjaValue& value, JinjaRun& run) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "";
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return value.integer() != 0 ? "True" : "False";
    case Kind::kInteger:
      return std::to_string(value.integer());
    case Kind::kFloat:
      return FloatText(value.number());
    case Kind::kText:
      return value.text();
    case Kind::kNamespace:
      return "<Namespace>";
    case Kind::kFunction:
      return Concat("<function ", value.function().name, ">");
    default: {
      std::string text;
      AppendRepr(value, run, text);
      return text;
    }
  }
}

std::string ToJson(const JinjaValue& value, const JsonStyle& style, JinjaRun& run) {
  JsonWriter writer(style, run);
  writer.Write(value, 0);
  return std::move(writer.text);
}

}  // namespace gptq
