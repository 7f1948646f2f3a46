// What stands behind "is".
#include <algorithm>
#include <array>

#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/run.h"
#include "text/jinja/string_methods.h"
#include "text/unicode.h"

namespace gptq {
namespace {

using Kind = JinjaValue::Kind;

template <Kind kKind>
bool Is(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return self.Is(kKind);
}

template <bool (JinjaValue::*kIs)() const>
bool Has(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return (self.*kIs)();
}

template <bool kTrue>
bool IsBool(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return self.Is(Kind::kBool) && (self.integer() != 0) == kTrue;
}

bool IsSequence(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return self.IsSequence() || self.IsText() || self.Is(Kind::kDict) || !self.IsDefined();
}

bool IsIterable(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return self.IsSequence() || self.IsText() || self.Is(Kind::kDict) || !self.IsDefined();
}

int64_t Integer(const JinjaValue& value, JinjaRun& run) {
  RequireDefined(value, run);
  if (!value.IsInteger()) run.Fail(Concat("a ", TypeName(value), " where an integer is needed"));
  return value.integer();
}

template <int64_t kRemainder>
bool HasParity(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return (Integer(self, run) & 1) == kRemainder;
}

bool IsDivisible(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"num"}, run);
  const int64_t divisor = Integer(Required(given[0], run), run);
  if (divisor == 0) run.Fail("a division by zero");
  return divisor == -1 || Integer(self, run) % divisor == 0;
}

template <bool kEqual>
bool Equals(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"other"}, run);
  return AreEqual(self, Required(given[0], run), run) == kEqual;
}

// kSwap: other < self; kWanted false: not so.
template <bool kSwap, bool kWanted>
bool Compares(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"other"}, run);
  const JinjaValue& other = Required(given[0], run);
  return (kSwap ? IsLess(other, self, run) : IsLess(self, other, run)) == kWanted;
}

bool IsIn(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"seq"}, run);
  return Contains(Required(given[0], run), self, run);
}

bool IsSameAs(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"other"}, run);
  const JinjaValue& other = Required(given[0], run);
  return self.kind() == other.kind() && AreEqual(self, other, run);
}

template <bool kUpper>
bool HasCase(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  if (!self.IsText()) return false;
  return IsTrue(FindStringMethod(kUpper ? "isupper" : "islower")(run, self, arguments));
}

template <bool kFilter>
bool IsKnown(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  const std::string name = TextOr(&self, "", run);
  return kFilter ? FindFilter(name) != nullptr : FindTest(name) != nullptr;
}

bool IsUndefined(JinjaRun& run, const JinjaValue& self, const JinjaArguments& arguments) {
  Match(arguments, {}, run);
  return !self.IsDefined();
}

struct Named {
  std::string_view name;
  JinjaTest test;
};

constexpr std::array kTests = {
    Named{"boolean", Is<Kind::kBool>},
    Named{"callable", Is<Kind::kFunction>},
    Named{"defined", Has<&JinjaValue::IsDefined>},
    Named{"divisibleby", IsDivisible},
    Named{"eq", Equals<true>},
    Named{"equalto", Equals<true>},
    Named{"==", Equals<true>},
    Named{"even", HasParity<0>},
    Named{"false", IsBool<false>},
    Named{"filter", IsKnown<true>},
    Named{"float", Is<Kind::kFloat>},
    Named{"ge", Compares<false, false>},
    Named{">=", Compares<false, false>},
    Named{"greaterthan", Compares<true, true>},
    Named{"gt", Compares<true, true>},
    Named{">", Compares<true, true>},
    Named{"in", IsIn},
    Named{"integer", Is<Kind::kInteger>},
    Named{"iterable", IsIterable},
    Named{"le", Compares<true, false>},
    Named{"<=", Compares<true, false>},
    Named{"lessthan", Compares<false, true>},
    Named{"lower", HasCase<false>},
    Named{"lt", Compares<false, true>},
    Named{"<", Compares<false, true>},
    Named{"mapping", Has<&JinjaValue::IsMapping>},
    Named{"ne", Equals<false>},
    Named{"!=", Equals<false>},
    Named{"none", Is<Kind::kNone>},
    Named{"number", Has<&JinjaValue::IsNumber>},
    Named{"odd", HasParity<1>},
    Named{"sameas", IsSameAs},
    Named{"sequence", IsSequence},
    Named{"string", Has<&JinjaValue::IsText>},
    Named{"test", IsKnown<false>},
    Named{"true", IsBool<true>},
    Named{"undefined", IsUndefined},
    Named{"upper", HasCase<true>},
};

}  // namespace

JinjaTest FindTest(std::string_view name) {
  const auto* found = std::ranges::find(kTests, name, &Named::name);
  return found == kTests.end() ? nullptr : found->test;
}

}  // namespace gptq
