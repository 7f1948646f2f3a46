// Filters of values; those of lists are in list_filters.cpp.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/list_filters.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/run.h"
#include "text/jinja/text_functions.h"
#include "text/unicode.h"

namespace gptq {
namespace {

using Kind = JinjaValue::Kind;

template <std::string (*kChange)(std::string_view)>
JinjaValue ChangeText(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return run.Text(kChange(ToText(self, run)));
}

JinjaValue Default(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"default_value", "boolean"}, run);
  if (self.IsDefined() && (!BoolOr(given[1], false) || IsTrue(self))) return self;
  return given[0] != nullptr ? *given[0] : run.Text("");
}

JinjaValue Trim(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"chars"}, run);
  const bool all = given[0] == nullptr || given[0]->Is(Kind::kNone);
  return run.Text(Strip(ToText(self, run), all ? nullptr : given[0], JinjaSides::kBoth, run));
}

JinjaValue ToStringFilter(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return self.IsText() ? self : run.Text(ToText(self, run));
}

JinjaValue ToJsonFilter(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"indent", "ensure_ascii", "separators", "sort_keys"}, run);
  constexpr int64_t kMostIndent = 1000;
  JsonStyle style;
  style.indent = static_cast<int>(std::clamp<int64_t>(IntegerOr(given[0], -1, run), -1, kMostIndent));
  if (style.indent >= 0) style.item_separator.pop_back();  // no space before a line break
  style.ascii = BoolOr(given[1], false);
  style.sort_keys = BoolOr(given[3], false);
  if (given[2] != nullptr && !given[2]->Is(Kind::kNone)) {
    if (!given[2]->IsSequence() || given[2]->items().size() != 2)
      run.Fail("separators that are not two strings");
    style.item_separator = TextOr(&given[2]->items()[0], "", run);
    style.key_separator = TextOr(&given[2]->items()[1], "", run);
  }
  return run.Text(ToJson(self, style, run));
}

JinjaValue ReplaceFilter(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"old", "new", "count"}, run);
  return run.Text(ReplaceText(ToText(self, run), TextOr(&Required(given[0], run), "", run),
                              TextOr(&Required(given[1], run), "", run), IntegerOr(given[2], -1, run), run));
}

JinjaValue LengthFilter(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return JinjaValue::Integer(Length(self, run));
}

// The indentation: so many spaces, or a text.
JinjaValue Indent(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"width", "first", "blank"}, run);
  std::string indent(4, ' ');
  if (given[0] != nullptr && given[0]->IsText()) {
    indent = given[0]->text();
  } else if (given[0] != nullptr) {
    indent.assign(static_cast<size_t>(std::clamp<int64_t>(IntegerOr(given[0], 4, run), 0, 10000)), ' ');
  }
  const std::vector<std::string> lines = SplitLines(ToText(self, run) + "\n", false);
  std::string text;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) text += '\n';
    const bool indented = i == 0 ? BoolOr(given[1], false) : !lines[i].empty() || BoolOr(given[2], false);
    text += (indented ? indent : "") + lines[i];
    run.CheckOutput(text.size());
  }
  return run.Text(std::move(text));
}

JinjaValue Abs(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  RequireDefined(self, run);
  if (!self.IsNumber()) run.Fail(Concat("a ", TypeName(self), " has no absolute value"));
  return self.number() < 0 ? Negative(self, run) : self;
}

// The start of a text as a number, the whole of which has to be one.
template <typename Number>
std::optional<Number> ParseNumber(const JinjaValue& value, JinjaRun& run) {
  const std::string text = Strip(value.text(), nullptr, JinjaSides::kBoth, run);
  Number number{};
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const auto result = std::from_chars(begin, text.data() + text.size(), number);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return number;
}

JinjaValue ToInteger(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"default", "base"}, run);
  constexpr double kLargest = 9.2e18;
  if (self.IsInteger()) return JinjaValue::Integer(self.integer());
  if (self.IsNumber() && std::fabs(self.number()) < kLargest)
    return JinjaValue::Integer(static_cast<int64_t>(self.number()));
  if (self.IsText()) {
    if (const auto number = ParseNumber<int64_t>(self, run)) return JinjaValue::Integer(*number);
    if (const auto number = ParseNumber<double>(self, run); number && std::fabs(*number) < kLargest)
      return JinjaValue::Integer(static_cast<int64_t>(*number));
  }
  return given[0] != nullptr ? *given[0] : JinjaValue::Integer(0);
}

JinjaValue ToFloatFilter(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"default"}, run);
  if (self.IsNumber()) return JinjaValue::Float(self.number());
  if (self.IsText()) {
    if (const auto number = ParseNumber<double>(self, run)) return JinjaValue::Float(*number);
  }
  return given[0] != nullptr ? *given[0] : JinjaValue::Float(0);
}

JinjaValue Round(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"precision", "method"}, run);
  RequireDefined(self, run);
  if (!self.IsNumber()) run.Fail(Concat("a ", TypeName(self), " is not rounded"));
  const int64_t precision = std::clamp<int64_t>(IntegerOr(given[0], 0, run), -300, 300);
  const std::string method = TextOr(given[1], "common", run);
  const double unit = std::pow(10.0, static_cast<double>(precision));
  const double scaled = self.number() * unit;
  const double rounded = method == "ceil"    ? std::ceil(scaled)
                         : method == "floor" ? std::floor(scaled)
                                             : std::nearbyint(scaled);
  return JinjaValue::Float(rounded / unit);
}

JinjaValue EscapeHtml(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  std::string text;
  for (const char c : ToText(self, run)) {
    text += c == '&'    ? "&amp;"
            : c == '<'  ? "&lt;"
            : c == '>'  ? "&gt;"
            : c == '\'' ? "&#39;"
            : c == '"'  ? "&#34;"
                        : std::string(1, c);
  }
  return run.Text(std::move(text));
}

JinjaValue CenterFilter(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"width"}, run);
  return run.Text(Center(ToText(self, run), IntegerOr(given[0], 80, run), run));
}

// As str.truncate of Jinja: at a word's end, where there is one.
JinjaValue Truncate(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"length", "killwords", "end", "leeway"}, run);
  constexpr int64_t kMost = INT32_MAX;  // so that sums do not overflow
  const int64_t length = std::clamp(IntegerOr(given[0], 255, run), -kMost, kMost);
  const std::string end = TextOr(given[2], "...", run);
  const JinjaValue text = run.Text(ToText(self, run));
  if (Length(text, run) <= length + std::clamp(IntegerOr(given[3], 5, run), -kMost, kMost)) return text;
  const int64_t kept = length - Length(run.Text(end), run);
  if (kept < 0) run.Fail("truncate to less than its end");
  std::string start = GetSlice(text, JinjaValue(), JinjaValue::Integer(kept), JinjaValue(), run).text();
  if (!BoolOr(given[1], false)) start = start.substr(0, start.rfind(' '));
  return run.Text(start + end);
}

JinjaValue WordCount(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return JinjaValue::Integer(static_cast<int64_t>(SplitWords(ToText(self, run)).size()));
}

JinjaValue Attribute(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"name"}, run);
  const std::string name = TextOr(&Required(given[0], run), "", run);
  const JinjaValue* found = self.IsMapping() ? FindItem(self, name, run) : nullptr;
  return found != nullptr ? *found : JinjaValue::Undefined(name);
}

JinjaValue Same(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return self;
}

constexpr std::array kFilters = {
    NamedMethod{"abs", Abs},
    NamedMethod{"attr", Attribute},
    NamedMethod{"capitalize", ChangeText<Capitalize>},
    NamedMethod{"center", CenterFilter},
    NamedMethod{"count", LengthFilter},
    NamedMethod{"d", Default},
    NamedMethod{"default", Default},
    NamedMethod{"e", EscapeHtml},
    NamedMethod{"escape", EscapeHtml},
    NamedMethod{"float", ToFloatFilter},
    NamedMethod{"indent", Indent},
    NamedMethod{"int", ToInteger},
    NamedMethod{"length", LengthFilter},
    NamedMethod{"lower", ChangeText<LowerCase>},
    NamedMethod{"replace", ReplaceFilter},
    NamedMethod{"round", Round},
    NamedMethod{"safe", Same},
    NamedMethod{"string", ToStringFilter},
    NamedMethod{"title", ChangeText<TitleCase>},
    NamedMethod{"tojson", ToJsonFilter},
    NamedMethod{"trim", Trim},
    NamedMethod{"truncate", Truncate},
    NamedMethod{"upper", ChangeText<UpperCase>},
    NamedMethod{"wordcount", WordCount},
};

}  // namespace

JinjaMethod FindFilter(std::string_view name) {
  const JinjaMethod found = FindNamed(kFilters, name);
  return found != nullptr ? found : FindListFilter(name);
}

}  // namespace gptq
