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

constexpr std::array kTests = {
    NamedTest{"boolean", Is<Kind::kBool>},
    NamedTest{"callable", Is<Kind::kFunction>},
    NamedTest{"defined", Has<&JinjaValue::IsDefined>},
    NamedTest{"divisibleby", IsDivisible},
    NamedTest{"eq", Equals<true>},
    NamedTest{"equalto", Equals<true>},
    NamedTest{"==", Equals<true>},
    NamedTest{"even", HasParity<0>},
    NamedTest{"false", IsBool<false>},
    NamedTest{"filter", IsKnown<true>},
    NamedTest{"float", Is<Kind::kFloat>},
    NamedTest{"ge", Compares<false, false>},
    NamedTest{">=", Compares<false, false>},
    NamedTest{"greaterthan", Compares<true, true>},
    NamedTest{"gt", Compares<true, true>},
    NamedTest{">", Compares<true, true>},
    NamedTest{"in", IsIn},
    NamedTest{"integer", Is<Kind::kInteger>},
    NamedTest{"iterable", IsIterable},
    NamedTest{"le", Compares<true, false>},
    NamedTest{"<=", Compares<true, false>},
    NamedTest{"lessthan", Compares<false, true>},
    NamedTest{"lower", HasCase<false>},
    NamedTest{"lt", Compares<false, true>},
    NamedTest{"<", Compares<false, true>},
    NamedTest{"mapping", Has<&JinjaValue::IsMapping>},
    NamedTest{"ne", Equals<false>},
    NamedTest{"!=", Equals<false>},
    NamedTest{"none", Is<Kind::kNone>},
    NamedTest{"number", Has<&JinjaValue::IsNumber>},
    NamedTest{"odd", HasParity<1>},
    NamedTest{"sameas", IsSameAs},
    NamedTest{"sequence", IsSequence},
    NamedTest{"string", Has<&JinjaValue::IsText>},
    NamedTest{"test", IsKnown<false>},
    NamedTest{"true", IsBool<true>},
    NamedTest{"undefined", IsUndefined},
    NamedTest{"upper", HasCase<true>},
};

}  // namespace

JinjaTest FindTest(std::string_view name) { return FindNamed(kTests, name); }

}  // namespace gptq
