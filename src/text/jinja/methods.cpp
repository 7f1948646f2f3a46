#include "text/jinja/methods.h"

#include <algorithm>
#include <array>

#include "text/jinja/operators.h"
#include "text/jinja/run.h"
#include "text/jinja/string_methods.h"

namespace gptq {
namespace {

using Kind = JinjaValue::Kind;

JinjaValue Items(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  std::vector<JinjaValue> pairs;
  for (const auto& [key, value] : self.dict().items) pairs.push_back(run.Tuple({key, value}));
  return run.List(std::move(pairs));
}

JinjaValue Keys(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  std::vector<JinjaValue> keys;
  for (const auto& [key, value] : self.dict().items) keys.push_back(key);
  return run.List(std::move(keys));
}

JinjaValue Values(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  std::vector<JinjaValue> values;
  for (const auto& [key, value] : self.dict().items) values.push_back(value);
  return run.List(std::move(values));
}

JinjaValue Get(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"key", "default"}, run);
  const JinjaValue* found = FindItem(self, Required(given[0], run), run);
  return found != nullptr ? *found : given[1] != nullptr ? *given[1] : JinjaValue();
}

JinjaValue Copy(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return self.IsSequence() ? run.List(self.items()) : run.Dict(self.dict().items);
}

JinjaValue Count(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"value"}, run);
  const JinjaValue& sought = Required(given[0], run);
  return JinjaValue::Integer(std::ranges::count_if(
      self.items(), [&](const JinjaValue& item) { return AreEqual(item, sought, run); }));
}

JinjaValue Index(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"value"}, run);
  for (size_t i = 0; i < self.items().size(); ++i) {
    if (AreEqual(self.items()[i], Required(given[0], run), run))
      return JinjaValue::Integer(static_cast<int64_t>(i));
  }
  run.Fail("a list does not hold what its 'index' is asked for");
}

// Templates are run in a sandbox where values do not change (transformers does the same).
JinjaValue Refuse(JinjaRun& run, const JinjaValue& self, const JinjaArguments&) {
  run.Fail(Concat("a method that would change a ", TypeName(self), ", which templates may not"));
}

constexpr std::array kDictMethods = {NamedMethod{"items", Items},    NamedMethod{"keys", Keys},
                                     NamedMethod{"values", Values},  NamedMethod{"get", Get},
                                     NamedMethod{"copy", Copy},      NamedMethod{"pop", Refuse},
                                     NamedMethod{"update", Refuse},  NamedMethod{"setdefault", Refuse},
                                     NamedMethod{"popitem", Refuse}, NamedMethod{"clear", Refuse}};
constexpr std::array kListMethods = {
    NamedMethod{"index", Index},   NamedMethod{"count", Count},   NamedMethod{"copy", Copy},
    NamedMethod{"append", Refuse}, NamedMethod{"extend", Refuse}, NamedMethod{"insert", Refuse},
    NamedMethod{"pop", Refuse},    NamedMethod{"remove", Refuse}, NamedMethod{"sort", Refuse},
    NamedMethod{"clear", Refuse},  NamedMethod{"reverse", Refuse}};

}  // namespace

JinjaMethod FindMethod(const JinjaValue& self, std::string_view name) {
  if (self.IsText()) return FindStringMethod(name);
  if (self.Is(Kind::kDict)) return FindNamed(kDictMethods, name);
  if (self.IsSequence()) return FindNamed(kListMethods, name);
  return nullptr;
}

std::vector<const JinjaValue*> Match(const JinjaArguments& arguments,
                                     std::initializer_list<std::string_view> parameters, JinjaRun& run) {
  std::vector<const JinjaValue*> matched(parameters.size(), nullptr);
  if (arguments.positional.size() > parameters.size())
    run.Fail(
        Concat(arguments.positional.size(), " arguments where at most ", parameters.size(), " are taken"));
  for (size_t i = 0; i < arguments.positional.size(); ++i) matched[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto place = static_cast<size_t>(std::ranges::find(parameters, name) - parameters.begin());
    if (place == parameters.size()) run.Fail(Concat("an argument '", name, "', which is not taken"));
    matched[place] = &value;
  }
  return matched;
}

bool BoolOr(const JinjaValue* argument, bool otherwise) {
  return argument == nullptr ? otherwise : IsTrue(*argument);
}

int64_t IntegerOr(const JinjaValue* argument, int64_t otherwise, JinjaRun& run) {
  if (argument == nullptr || argument->Is(Kind::kNone)) return otherwise;
  RequireDefined(*argument, run);
  if (!argument->IsInteger()) run.Fail(Concat("a ", TypeName(*argument), " where an integer is needed"));
  return argument->integer();
}

std::string TextOr(const JinjaValue* argument, std::string_view otherwise, JinjaRun& run) {
  if (argument == nullptr || argument->Is(Kind::kNone)) return std::string(otherwise);
  RequireDefined(*argument, run);
  if (!argument->IsText()) run.Fail(Concat("a ", TypeName(*argument), " where a string is needed"));
  return argument->text();
}

const JinjaValue& Required(const JinjaValue* argument, JinjaRun& run) {
  if (argument == nullptr) run.Fail("a call without an argument that is needed");
  return *argument;
}

}  // namespace gptq
