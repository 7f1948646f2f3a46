#include "text/jinja/list_filters.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/run.h"
#include "text/jinja/text_functions.h"
#include "text/unicode.h"

namespace gptq {
namespace {

using Kind = JinjaValue::Kind;

// value.a.b.0 for "a.b.0", value[0] for 0; the value itself without an attribute.
JinjaValue Attribute(JinjaValue value, const JinjaValue* attribute, JinjaRun& run) {
  if (!IsGiven(attribute)) return value;
  if (attribute->IsInteger()) return GetItem(value, *attribute, run);
  const std::string path = TextOr(attribute, "", run);
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    const bool number = !name.empty() && name.size() < 10 &&
                        std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
    value = GetItem(value, number ? JinjaValue::Integer(std::stol(name)) : run.Text(name), run);
    begin = end + 1;
  }
  return value;
}

JinjaArguments Without(const JinjaArguments& arguments, size_t count) {
  JinjaArguments rest;
  rest.named = arguments.named;
  const size_t skipped = std::min(count, arguments.positional.size());
  rest.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(skipped),
                         arguments.positional.end());
  return rest;
}

// map(attribute="a"[, default=...]) or map("filter", arguments of the filter ...)
JinjaValue Map(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  std::vector<JinjaValue> results;
  if (arguments.positional.empty()) {
    const auto given = Match(arguments, {"attribute", "default"}, run);
    Required(given[0], run);
    for (const JinjaValue& item : ToItems(self, run)) {
      JinjaValue value = Attribute(item, given[0], run);
      results.push_back(!value.IsDefined() && given[1] != nullptr ? *given[1] : std::move(value));
    }
    return run.List(std::move(results));
  }
  const std::string name = TextOr(&arguments.positional[0], "", run);
  const JinjaMethod filter = FindFilter(name);
  if (filter == nullptr) run.Fail(Concat("the filter '", name, "' is not supported"));
  const JinjaRun::Nested nested(run);
  const JinjaArguments rest = Without(arguments, 1);
  for (const JinjaValue& item : ToItems(self, run)) {
    run.Step();
    results.push_back(filter(run, item, rest));
  }
  return run.List(std::move(results));
}

// select("test", arguments of the test ...), selectattr("attribute", "test", arguments ...), and the
// contrary.
template <bool kWanted, bool kByAttribute>
JinjaValue Choose(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const size_t first = kByAttribute ? 1 : 0;
  const JinjaValue* attribute = nullptr;
  if (kByAttribute) {
    if (arguments.positional.empty()) run.Fail("a choice by attribute without the attribute's name");
    attribute = &arguments.positional[0];
  }
  JinjaTest test = nullptr;
  if (arguments.positional.size() > first) {
    const std::string name = TextOr(&arguments.positional[first], "", run);
    test = FindTest(name);
    if (test == nullptr) run.Fail(Concat("the test '", name, "' is not supported"));
  }
  const JinjaArguments rest = Without(arguments, first + 1);
  std::vector<JinjaValue> chosen;
  for (const JinjaValue& item : ToItems(self, run)) {
    run.Step();
    const JinjaValue value = Attribute(item, attribute, run);
    if ((test != nullptr ? test(run, value, rest) : IsTrue(value)) == kWanted) chosen.push_back(item);
  }
  return run.List(std::move(chosen));
}

JinjaValue JoinFilter(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"d", "attribute"}, run);
  const std::string separator = given[0] == nullptr ? "" : ToText(*given[0], run);
  std::string text;
  bool first = true;
  for (const JinjaValue& item : ToItems(self, run)) {
    if (!first) text += separator;
    first = false;
    text += ToText(Attribute(item, given[1], run), run);
    run.CheckOutput(text.size());
  }
  return run.Text(std::move(text));
}

JinjaValue First(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  const std::vector<JinjaValue> items = ToItems(self, run);
  return items.empty() ? JinjaValue::Undefined("the first item of nothing") : items.front();
}

JinjaValue Last(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  const std::vector<JinjaValue> items = ToItems(self, run);
  return items.empty() ? JinjaValue::Undefined("the last item of nothing") : items.back();
}

JinjaValue ToList(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return run.List(ToItems(self, run));
}

JinjaValue ItemsFilter(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  if (!self.IsDefined()) return run.List({});
  if (!self.IsMapping()) run.Fail(Concat("items of a ", TypeName(self)));
  std::vector<JinjaValue> pairs;
  for (const auto& [key, value] : self.dict().items) pairs.push_back(run.Tuple({key, value}));
  return run.List(std::move(pairs));
}

JinjaValue Reverse(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  std::vector<JinjaValue> items = ToItems(self, run);
  std::ranges::reverse(items);
  if (!self.IsText()) return run.List(std::move(items));
  std::string text;
  for (const JinjaValue& character : items) text += character.text();
  return run.Text(std::move(text));
}

// What values are sorted and compared by: texts without regard to case, unless it counts.
JinjaValue SortKey(const JinjaValue& value, bool case_sensitive, JinjaRun& run) {
  return value.IsText() && !case_sensitive ? run.Text(LowerCase(value.text())) : value;
}

using Keyed = std::pair<JinjaValue, JinjaValue>;  // key, item

// By insertion into a heap-free merge: stable, and an order that contradicts itself does no harm.
std::vector<JinjaValue> SortedByKey(std::vector<Keyed> keyed, bool reverse, JinjaRun& run) {
  for (size_t width = 1; width < keyed.size(); width *= 2) {
    std::vector<Keyed> merged;
    merged.reserve(keyed.size());
    for (size_t begin = 0; begin < keyed.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, keyed.size());
      const size_t end = std::min(begin + 2 * width, keyed.size());
      size_t left = begin;
      size_t right = middle;
      while (left < middle || right < end) {
        const auto goes_first = [&](const Keyed& a, const Keyed& b) {
          return reverse ? IsLess(b.first, a.first, run) : IsLess(a.first, b.first, run);
        };
        const bool take_right = left == middle || (right < end && goes_first(keyed[right], keyed[left]));
        merged.push_back(keyed[take_right ? right++ : left++]);
      }
    }
    keyed = std::move(merged);
  }
  std::vector<JinjaValue> items;
  for (Keyed& item : keyed) items.push_back(std::move(item.second));
  return items;
}

JinjaValue Sort(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"reverse", "case_sensitive", "attribute"}, run);
  std::vector<Keyed> keyed;
  for (const JinjaValue& item : ToItems(self, run))
    keyed.emplace_back(SortKey(Attribute(item, given[2], run), BoolOr(given[1], false), run), item);
  return run.List(SortedByKey(std::move(keyed), BoolOr(given[0], false), run));
}

JinjaValue SortDict(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"case_sensitive", "by", "reverse"}, run);
  if (!self.IsMapping()) run.Fail(Concat("dictsort of a ", TypeName(self)));
  const bool by_value = TextOr(given[1], "key", run) == "value";
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : self.dict().items)
    keyed.emplace_back(SortKey(by_value ? value : key, BoolOr(given[0], false), run),
                       run.Tuple({key, value}));
  return run.List(SortedByKey(std::move(keyed), BoolOr(given[2], false), run));
}

JinjaValue Unique(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"case_sensitive", "attribute"}, run);
  std::vector<JinjaValue> seen;
  std::vector<JinjaValue> items;
  for (const JinjaValue& item : ToItems(self, run)) {
    const JinjaValue key = SortKey(Attribute(item, given[1], run), BoolOr(given[0], false), run);
    if (std::ranges::any_of(seen, [&](const JinjaValue& other) { return AreEqual(other, key, run); }))
      continue;
    seen.push_back(key);
    items.push_back(item);
  }
  return run.List(std::move(items));
}

JinjaValue GroupBy(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"attribute", "default", "case_sensitive"}, run);
  std::vector<Keyed> keyed;
  for (const JinjaValue& item : ToItems(self, run)) {
    JinjaValue key = Attribute(item, &Required(given[0], run), run);
    if (!key.IsDefined() && given[1] != nullptr) key = *given[1];
    keyed.emplace_back(key, run.Tuple({key, item}));
  }
  std::vector<JinjaValue> groups;
  std::vector<JinjaValue> members;
  const std::vector<JinjaValue> sorted = SortedByKey(std::move(keyed), false, run);
  for (size_t i = 0; i < sorted.size(); ++i) {
    const JinjaValue& key = sorted[i].items()[0];
    members.push_back(sorted[i].items()[1]);
    if (i + 1 < sorted.size() && AreEqual(sorted[i + 1].items()[0], key, run)) continue;
    groups.push_back(run.Tuple({key, run.List(std::move(members))}));
    members.clear();
  }
  return run.List(std::move(groups));
}

template <bool kLargest>
JinjaValue Extreme(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"case_sensitive", "attribute"}, run);
  std::optional<Keyed> best;
  for (const JinjaValue& item : ToItems(self, run)) {
    const JinjaValue key = SortKey(Attribute(item, given[1], run), BoolOr(given[0], false), run);
    if (best && !(kLargest ? IsLess(best->first, key, run) : IsLess(key, best->first, run))) continue;
    best = Keyed{key, item};
  }
  return best ? best->second : JinjaValue::Undefined("the extreme of nothing");
}

JinjaValue Sum(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"attribute", "start"}, run);
  JinjaValue sum = given[1] != nullptr ? *given[1] : JinjaValue::Integer(0);
  for (const JinjaValue& item : ToItems(self, run))
    sum = Operate("+", sum, Attribute(item, given[0], run), run);
  return sum;
}

// Lists of `linecount` items, the last one filled up where there is something to fill with.
JinjaValue Batch(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"linecount", "fill_with"}, run);
  const int64_t count = IntegerOr(&Required(given[0], run), 0, run);
  if (count < 1) run.Fail("batches of less than one item");
  std::vector<JinjaValue> batches;
  std::vector<JinjaValue> batch;
  for (const JinjaValue& item : ToItems(self, run)) {
    batch.push_back(item);
    if (static_cast<int64_t>(batch.size()) < count) continue;
    batches.push_back(run.List(std::move(batch)));
    batch.clear();
  }
  if (!batch.empty()) {
    while (IsGiven(given[1]) && static_cast<int64_t>(batch.size()) < count) {
      run.SpendBytes(sizeof(JinjaValue));
      batch.push_back(*given[1]);
    }
    batches.push_back(run.List(std::move(batch)));
  }
  return run.List(std::move(batches));
}

constexpr std::array kListFilters = {
    NamedMethod{"batch", Batch},
    NamedMethod{"dictsort", SortDict},
    NamedMethod{"first", First},
    NamedMethod{"groupby", GroupBy},
    NamedMethod{"items", ItemsFilter},
    NamedMethod{"join", JoinFilter},
    NamedMethod{"last", Last},
    NamedMethod{"list", ToList},
    NamedMethod{"map", Map},
    NamedMethod{"max", Extreme<true>},
    NamedMethod{"min", Extreme<false>},
    NamedMethod{"reject", Choose<false, false>},
    NamedMethod{"rejectattr", Choose<false, true>},
    NamedMethod{"reverse", Reverse},
    NamedMethod{"select", Choose<true, false>},
    NamedMethod{"selectattr", Choose<true, true>},
    NamedMethod{"sort", Sort},
    NamedMethod{"sum", Sum},
    NamedMethod{"unique", Unique},
};

}  // namespace

JinjaMethod FindListFilter(std::string_view name) { return FindNamed(kListFilters, name); }

}  // namespace gptq
