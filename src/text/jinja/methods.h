// Methods of values, and filters and tests of expressions: functions of one value and arguments, by name.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace gptq {

using JinjaMethod = JinjaValue (*)(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments);
using JinjaTest = bool (*)(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments);

// A table of them, and the function of a name; nullptr where there is none.
template <typename Function>
struct JinjaNamed {
  std::string_view name;
  Function function;
};
using NamedMethod = JinjaNamed<JinjaMethod>;
using NamedTest = JinjaNamed<JinjaTest>;

template <typename Function, size_t N>
Function FindNamed(const std::array<JinjaNamed<Function>, N>& table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &JinjaNamed<Function>::name);
  return found == table.end() ? nullptr : found->function;
}

// The language's own; nullptr where there is none.
JinjaMethod FindMethod(const JinjaValue& self, std::string_view name);  // self.name()
JinjaMethod FindFilter(std::string_view name);                          // self | name
JinjaTest FindTest(std::string_view name);                              // self is name

// range, namespace, raise_exception ... for a template's outermost scope.
std::vector<std::pair<std::string, JinjaValue>> GlobalFunctions(JinjaRun& run);

// Not none.
inline bool IsGiven(const JinjaValue* argument) {
  return argument != nullptr && !argument->Is(JinjaValue::Kind::kNone);
}

// The arguments in the order of the parameters' names, nullptr for those that are not given. Fails for
// arguments that no parameter takes.
std::vector<const JinjaValue*> Match(const JinjaArguments& arguments,
                                     std::initializer_list<std::string_view> parameters, JinjaRun& run);
// ... read as what they have to be; absent ones give the second value.
bool BoolOr(const JinjaValue* argument, bool otherwise);
int64_t IntegerOr(const JinjaValue* argument, int64_t otherwise, JinjaRun& run);
std::string TextOr(const JinjaValue* argument, std::string_view otherwise, JinjaRun& run);
const JinjaValue& Required(const JinjaValue* argument, JinjaRun& run);

}  // namespace gptq
