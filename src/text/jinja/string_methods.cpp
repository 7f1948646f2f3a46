#include "text/jinja/string_methods.h"

#include <algorithm>
#include <array>

#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/run.h"
#include "text/jinja/text_functions.h"
#include "text/unicode.h"

namespace gptq {
namespace {

using Kind = JinjaValue::Kind;

// The last place of `part`.
size_t FindLastText(const std::string& text, const std::string& part, JinjaRun& run) {
  run.Step(static_cast<int64_t>(text.size() / 256 * (part.size() / 16 + 1)));
  return text.rfind(part);
}

JinjaValue ListOfTexts(std::vector<std::string> texts, JinjaRun& run) {
  std::vector<JinjaValue> items;
  items.reserve(texts.size());
  for (std::string& text : texts) items.push_back(run.Text(std::move(text)));
  return run.List(std::move(items));
}

template <JinjaSides kSides>
JinjaValue StripMethod(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"chars"}, run);
  return run.Text(Strip(self.text(), IsGiven(given[0]) ? given[0] : nullptr, kSides, run));
}

template <std::string (*kChange)(std::string_view)>
JinjaValue ChangeMethod(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return run.Text(kChange(self.text()));
}

// Pieces between separators, at most `most` cuts (< 0: all), from the right where `backwards`.
std::vector<std::string> SplitText(const std::string& text, const std::string& separator, int64_t most,
                                   bool backwards, JinjaRun& run) {
  std::vector<size_t> cuts;
  for (size_t at = FindText(text, separator, 0, run); at != std::string::npos;
       at = FindText(text, separator, at + separator.size(), run)) {
    cuts.push_back(at);
  }
  if (most >= 0 && static_cast<int64_t>(cuts.size()) > most) {
    if (backwards) {
      cuts.erase(cuts.begin(), cuts.end() - static_cast<ptrdiff_t>(most));
    } else {
      cuts.resize(static_cast<size_t>(most));
    }
  }
  std::vector<std::string> pieces;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    pieces.push_back(text.substr(begin, cut - begin));
    begin = cut + separator.size();
  }
  pieces.push_back(text.substr(begin));
  return pieces;
}

// The rest of the text is one word after `most` cuts.
std::vector<std::string> SplitAtSpaces(const std::string& text, int64_t most, JinjaRun& run) {
  std::vector<std::string> words;
  std::string rest = text;
  while (true) {
    rest = Strip(rest, nullptr, JinjaSides::kLeft, run);
    if (rest.empty()) break;
    size_t end = 0;
    while (end < rest.size()) {
      const CodePoint c = DecodeUtf8(rest, end);
      if (IsPythonSpace(c.value)) break;
      end += c.size;
    }
    if (static_cast<int64_t>(words.size()) == most) end = rest.size();
    words.push_back(rest.substr(0, end));
    rest.erase(0, end);
    run.SpendBytes(static_cast<int64_t>(rest.size() / 16));
  }
  return words;
}

template <bool kBackwards>
JinjaValue Split(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"sep", "maxsplit"}, run);
  const int64_t most = IntegerOr(given[1], -1, run);
  if (!IsGiven(given[0])) {
    if (most < 0) return ListOfTexts(SplitWords(self.text()), run);
    if (kBackwards) run.Fail("rsplit at spaces with maxsplit is not supported");
    return ListOfTexts(SplitAtSpaces(self.text(), most, run), run);
  }
  const std::string separator = TextOr(given[0], "", run);
  if (separator.empty()) run.Fail("a split at an empty string");
  return ListOfTexts(SplitText(self.text(), separator, most, kBackwards, run), run);
}

JinjaValue SplitLinesMethod(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"keepends"}, run);
  return ListOfTexts(SplitLines(self.text(), BoolOr(given[0], false)), run);
}

template <bool kBackwards>
JinjaValue Partition(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"sep"}, run);
  const std::string separator = TextOr(&Required(given[0], run), "", run);
  if (separator.empty()) run.Fail("a partition at an empty string");
  const std::string& text = self.text();
  const size_t at = kBackwards ? FindLastText(text, separator, run) : FindText(text, separator, 0, run);
  const JinjaValue nothing = run.Text("");
  if (at == std::string::npos)
    return kBackwards ? run.Tuple({nothing, nothing, self}) : run.Tuple({self, nothing, nothing});
  return run.Tuple(
      {run.Text(text.substr(0, at)), run.Text(separator), run.Text(text.substr(at + separator.size()))});
}

// A string, or a tuple of strings of which one is enough.
template <bool kAtEnd>
JinjaValue HasAffix(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"affix"}, run);
  const JinjaValue& affix = Required(given[0], run);
  const auto matches = [&](const JinjaValue& value) {
    const std::string text = TextOr(&value, "", run);
    return kAtEnd ? self.text().ends_with(text) : self.text().starts_with(text);
  };
  return JinjaValue::Bool(affix.Is(Kind::kTuple) ? std::ranges::any_of(affix.items(), matches)
                                                 : matches(affix));
}

template <bool kAtEnd>
JinjaValue RemoveAffix(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"affix"}, run);
  const std::string affix = TextOr(&Required(given[0], run), "", run);
  const std::string& text = self.text();
  if (kAtEnd ? !text.ends_with(affix) : !text.starts_with(affix)) return self;
  return run.Text(kAtEnd ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size()));
}

JinjaValue Replace(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"old", "new", "count"}, run);
  return run.Text(ReplaceText(self.text(), TextOr(&Required(given[0], run), "", run),
                              TextOr(&Required(given[1], run), "", run), IntegerOr(given[2], -1, run), run));
}

// The place in characters, -1 where there is none.
template <bool kBackwards, bool kMustExist>
JinjaValue FindPlace(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"sub"}, run);
  const std::string sought = TextOr(&Required(given[0], run), "", run);
  const std::string& text = self.text();
  const size_t at = kBackwards ? FindLastText(text, sought, run) : FindText(text, sought, 0, run);
  if (at != std::string::npos) return JinjaValue::Integer(Length(run.Text(text.substr(0, at)), run));
  if (kMustExist) run.Fail(Concat("'", sought.substr(0, 60), "' is not in the string"));
  return JinjaValue::Integer(-1);
}

JinjaValue CountMethod(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"sub"}, run);
  const std::string sought = TextOr(&Required(given[0], run), "", run);
  if (sought.empty()) return JinjaValue::Integer(Length(self, run) + 1);
  int64_t count = 0;
  for (size_t at = FindText(self.text(), sought, 0, run); at != std::string::npos;
       at = FindText(self.text(), sought, at + sought.size(), run)) {
    ++count;
  }
  return JinjaValue::Integer(count);
}

JinjaValue Join(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"iterable"}, run);
  std::string text;
  bool first = true;
  for (const JinjaValue& item : ToItems(Required(given[0], run), run)) {
    if (!first) text += self.text();
    first = false;
    text += TextOr(&item, "", run);
    run.CheckOutput(text.size());
  }
  return run.Text(std::move(text));
}

// All characters are of a kind, of which there is at least one.
template <bool (*kIs)(char32_t)>
JinjaValue AllAre(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  const std::string& text = self.text();
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = DecodeUtf8(text, at);
    if (!kIs(c.value)) return JinjaValue::Bool(false);
    at += c.size;
  }
  return JinjaValue::Bool(!text.empty());
}

bool IsAlphanumeric(char32_t c) { return IsLetter(c) || IsNumeric(c); }
bool IsDigit(char32_t c) { return c < 0x80 ? c >= '0' && c <= '9' : IsNumeric(c); }

// Has letters with case, and only of this one.
template <bool (*kIs)(char32_t), bool (*kIsNot)(char32_t)>
JinjaValue CaseIs(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  bool found = false;
  for (size_t at = 0; at < self.text().size();) {
    const CodePoint c = DecodeUtf8(self.text(), at);
    if (kIsNot(c.value)) return JinjaValue::Bool(false);
    found |= kIs(c.value);
    at += c.size;
  }
  return JinjaValue::Bool(found);
}

std::string Padding(const JinjaValue& self, int64_t width, JinjaRun& run) {
  return std::string(static_cast<size_t>(MissingCharacters(self, width, run)), ' ');
}

template <bool kLeft>
JinjaValue Adjust(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"width"}, run);
  const std::string padding = Padding(self, IntegerOr(given[0], 0, run), run);
  return run.Text(kLeft ? self.text() + padding : padding + self.text());
}

JinjaValue CenterMethod(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"width"}, run);
  return run.Text(Center(self.text(), IntegerOr(given[0], 0, run), run));
}

JinjaValue ZeroFill(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"width"}, run);
  std::string zeros = Padding(self, IntegerOr(given[0], 0, run), run);
  std::ranges::fill(zeros, '0');
  const size_t sign = !self.text().empty() && (self.text()[0] == '-' || self.text()[0] == '+') ? 1 : 0;
  return run.Text(self.text().substr(0, sign) + zeros + self.text().substr(sign));
}

// "{}", "{0}" and "{name}" without format specifications.
JinjaValue Format(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const std::string& format = self.text();
  std::string text;
  size_t next = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    const char c = format[i];
    const bool doubled = i + 1 < format.size() && format[i + 1] == c;
    if (c != '{' && c != '}') {
      text += c;
      continue;
    }
    if (doubled) {
      text += c;
      ++i;
      continue;
    }
    const size_t end = c == '{' ? format.find('}', i) : std::string::npos;
    if (end == std::string::npos) run.Fail("a single brace in a string that is formatted");
    const std::string field = format.substr(i + 1, end - i - 1);
    if (field.find_first_of(".[!:{") != std::string::npos)
      run.Fail(Concat("the format '{", field.substr(0, 60), "}' is not supported"));
    const bool numbered = !field.empty() && field.size() < 6 &&
                          std::ranges::all_of(field, [](char d) { return d >= '0' && d <= '9'; });
    const auto named = std::ranges::find(arguments.named, field, &std::pair<std::string, JinjaValue>::first);
    const size_t place = numbered ? std::stoul(field) : field.empty() ? next++ : SIZE_MAX;
    if (place < arguments.positional.size()) {
      text += ToText(arguments.positional[place], run);
    } else if (named != arguments.named.end()) {
      text += ToText(named->second, run);
    } else {
      run.Fail(Concat("no value for '{", field.substr(0, 60), "}'"));
    }
    run.CheckOutput(text.size());
    i = end;
  }
  return run.Text(std::move(text));
}

constexpr std::array kMethods = {
    NamedMethod{"capitalize", ChangeMethod<Capitalize>},
    NamedMethod{"casefold", ChangeMethod<LowerCase>},
    NamedMethod{"center", CenterMethod},
    NamedMethod{"count", CountMethod},
    NamedMethod{"endswith", HasAffix<true>},
    NamedMethod{"find", FindPlace<false, false>},
    NamedMethod{"format", Format},
    NamedMethod{"index", FindPlace<false, true>},
    NamedMethod{"isalnum", AllAre<IsAlphanumeric>},
    NamedMethod{"isalpha", AllAre<IsLetter>},
    NamedMethod{"isdigit", AllAre<IsDigit>},
    NamedMethod{"isdecimal", AllAre<IsDigit>},
    NamedMethod{"isnumeric", AllAre<IsNumeric>},
    NamedMethod{"isspace", AllAre<IsPythonSpace>},
    NamedMethod{"islower", CaseIs<IsLowerCase, IsUpperCase>},
    NamedMethod{"isupper", CaseIs<IsUpperCase, IsLowerCase>},
    NamedMethod{"join", Join},
    NamedMethod{"ljust", Adjust<true>},
    NamedMethod{"lower", ChangeMethod<LowerCase>},
    NamedMethod{"lstrip", StripMethod<JinjaSides::kLeft>},
    NamedMethod{"partition", Partition<false>},
    NamedMethod{"removeprefix", RemoveAffix<false>},
    NamedMethod{"removesuffix", RemoveAffix<true>},
    NamedMethod{"replace", Replace},
    NamedMethod{"rfind", FindPlace<true, false>},
    NamedMethod{"rindex", FindPlace<true, true>},
    NamedMethod{"rjust", Adjust<false>},
    NamedMethod{"rpartition", Partition<true>},
    NamedMethod{"rsplit", Split<true>},
    NamedMethod{"rstrip", StripMethod<JinjaSides::kRight>},
    NamedMethod{"split", Split<false>},
    NamedMethod{"splitlines", SplitLinesMethod},
    NamedMethod{"startswith", HasAffix<false>},
    NamedMethod{"strip", StripMethod<JinjaSides::kBoth>},
    NamedMethod{"title", ChangeMethod<TitleCase>},
    NamedMethod{"upper", ChangeMethod<UpperCase>},
    NamedMethod{"zfill", ZeroFill},
};

}  // namespace

JinjaMethod FindStringMethod(std::string_view name) { return FindNamed(kMethods, name); }

}  // namespace gptq
