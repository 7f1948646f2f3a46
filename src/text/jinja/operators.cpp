#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "text/jinja/methods.h"
#include "text/jinja/printing.h"
#include "text/jinja/run.h"
#include "text/unicode.h"

namespace gptq {
namespace {

using Kind = JinjaValue::Kind;

int64_t CountCharacters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

[[noreturn]] void NoOperator(std::string_view op, const JinjaValue& left, const JinjaValue& right,
                             JinjaRun& run) {
  RequireDefined(left, run);
  RequireDefined(right, run);
  run.Fail(Concat("there is no '", op, "' of ", TypeName(left), " and ", TypeName(right)));
}

// The remainder has the sign of the divisor.
int64_t FloorRemainder(int64_t a, int64_t b) {
  const int64_t remainder = a % b;
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0); }

JinjaValue IntegerPower(int64_t base, int64_t exponent, JinjaRun& run) {
  int64_t result = 1;
  for (; exponent > 0; --exponent) {
    run.Step();
    if (__builtin_mul_overflow(result, base, &result)) run.Fail("an integer of more than 64 bits");
    if (result == 0 || (result == 1 && base == 1)) break;
  }
  return JinjaValue::Integer(result);
}

JinjaValue OperateIntegers(std::string_view op, int64_t a, int64_t b, JinjaRun& run) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else {
    if (b == 0) run.Fail("a division by zero");
    overflow = a == INT64_MIN && b == -1;
    if (!overflow) result = op == "//" ? FloorDivide(a, b) : FloorRemainder(a, b);
  }
  if (overflow) run.Fail("an integer of more than 64 bits");
  return JinjaValue::Integer(result);
}

JinjaValue OperateFloats(std::string_view op, double a, double b, JinjaRun& run) {
  if (op == "+") return JinjaValue::Float(a + b);
  if (op == "-") return JinjaValue::Float(a - b);
  if (op == "*") return JinjaValue::Float(a * b);
  if (op == "**") return JinjaValue::Float(std::pow(a, b));
  if (b == 0) run.Fail("a division by zero");
  if (op == "/") return JinjaValue::Float(a / b);
  if (op == "//") return JinjaValue::Float(std::floor(a / b));
  return JinjaValue::Float(a - std::floor(a / b) * b);
}

JinjaValue OperateNumbers(std::string_view op, const JinjaValue& left, const JinjaValue& right,
                          JinjaRun& run) {
  const bool integers = left.IsInteger() && right.IsInteger() && op != "/";
  if (integers && op != "**") return OperateIntegers(op, left.integer(), right.integer(), run);
  if (integers && right.integer() >= 0) return IntegerPower(left.integer(), right.integer(), run);
  return OperateFloats(op, left.number(), right.number(), run);
}

JinjaValue Repeat(const JinjaValue& value, int64_t count, JinjaRun& run) {
  count = std::max<int64_t>(0, count);
  const auto size = static_cast<int64_t>(value.IsText() ? value.text().size() : value.items().size());
  const int64_t bytes = value.IsText() ? 1 : static_cast<int64_t>(sizeof(JinjaValue));
  int64_t total = 0;
  if (__builtin_mul_overflow(size * bytes, count, &total)) total = INT64_MAX;
  run.SpendBytes(total);  // before they are made
  if (value.IsText()) {
    std::string text;
    for (int64_t i = 0; i < count && size > 0; ++i) text += value.text();
    return run.Text(std::move(text));
  }
  std::vector<JinjaValue> items;
  for (int64_t i = 0; i < count && size > 0; ++i)
    items.insert(items.end(), value.items().begin(), value.items().end());
  return value.Is(Kind::kTuple) ? run.Tuple(std::move(items)) : run.List(std::move(items));
}

JinjaValue Join(const JinjaValue& left, const JinjaValue& right, JinjaRun& run) {
  std::vector<JinjaValue> items = left.items();
  items.insert(items.end(), right.items().begin(), right.items().end());
  return left.Is(Kind::kTuple) ? run.Tuple(std::move(items)) : run.List(std::move(items));
}

// A place counted from the end where it is negative; nothing outside.
std::optional<size_t> Place(const JinjaValue& key, int64_t size) {
  int64_t place = key.integer();
  if (place < 0) place += size;
  if (place < 0 || place >= size) return std::nullopt;
  return static_cast<size_t>(place);
}

}  // namespace

void RequireDefined(const JinjaValue& value, JinjaRun& run) {
  if (!value.IsDefined()) run.Fail(Concat("'", value.text(), "' is undefined"));
}

size_t FindText(std::string_view text, std::string_view part, size_t from, JinjaRun& run) {
  if (from > text.size()) return std::string_view::npos;
  if (part.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  const size_t place = found == nullptr ? std::string_view::npos
                                        : static_cast<size_t>(static_cast<const char*>(found) - text.data());
  run.Step(static_cast<int64_t>((std::min(place, text.size()) - from) / 256));
  return place;
}

int64_t Length(const JinjaValue& value, JinjaRun& run) {
  if (value.IsText()) return CountCharacters(value.text());
  if (value.IsSequence()) return static_cast<int64_t>(value.items().size());
  if (value.IsMapping()) return static_cast<int64_t>(value.dict().items.size());
  if (!value.IsDefined()) return 0;
  run.Fail(Concat("a ", TypeName(value), " has no length"));
}

JinjaValue Negative(const JinjaValue& value, JinjaRun& run) {
  RequireDefined(value, run);
  if (value.IsInteger()) return OperateIntegers("-", 0, value.integer(), run);
  if (!value.IsNumber()) run.Fail(Concat("there is no negative ", TypeName(value)));
  return JinjaValue::Float(-value.number());
}

JinjaValue Operate(std::string_view op, const JinjaValue& left, const JinjaValue& right, JinjaRun& run) {
  if (op == "~") return run.Text(ToText(left, run) + ToText(right, run));
  if (left.IsNumber() && right.IsNumber()) return OperateNumbers(op, left, right, run);
  if (op == "+" && left.IsText() && right.IsText()) return run.Text(left.text() + right.text());
  if (op == "+" && left.IsSequence() && left.kind() == right.kind()) return Join(left, right, run);
  const auto repeatable = [](const JinjaValue& v) { return v.IsText() || v.IsSequence(); };
  if (op == "*" && repeatable(left) && right.IsInteger()) return Repeat(left, right.integer(), run);
  if (op == "*" && repeatable(right) && left.IsInteger()) return Repeat(right, left.integer(), run);
  NoOperator(op, left, right, run);
}

bool Contains(const JinjaValue& container, const JinjaValue& item, JinjaRun& run) {
  if (container.IsText()) {
    if (!item.IsText()) NoOperator("in", item, container, run);
    return FindText(container.text(), item.text(), 0, run) != std::string_view::npos;
  }
  if (container.IsMapping()) return FindItem(container, item, run) != nullptr;
  if (!container.IsDefined()) return false;
  if (!container.IsSequence()) NoOperator("in", item, container, run);
  return std::ranges::any_of(container.items(), [&](const JinjaValue& v) { return AreEqual(v, item, run); });
}

JinjaValue GetMember(const JinjaValue& value, std::string_view name, JinjaRun& run) {
  if (!value.IsDefined()) run.Fail(Concat("'", value.text(), "' is undefined, so it has no '", name, "'"));
  if (!name.starts_with('_')) {
    if (const JinjaMethod method = FindMethod(value, name)) {
      return run.Function(std::string(name), [value, method](JinjaRun& r, const JinjaArguments& arguments) {
        return method(r, value, arguments);
      });
    }
  }
  if (value.IsMapping()) {
    if (const JinjaValue* found = FindItem(value, name, run)) return *found;
  }
  return JinjaValue::Undefined(std::string(name));
}

JinjaValue GetItem(const JinjaValue& value, const JinjaValue& key, JinjaRun& run) {
  if (value.IsMapping()) {
    if (const JinjaValue* found = FindItem(value, key, run)) return *found;
  }
  if (key.IsText()) return GetMember(value, key.text(), run);
  if (!value.IsDefined()) run.Fail(Concat("'", value.text(), "' is undefined, so it has no items"));
  if (key.IsInteger() && value.IsSequence()) {
    if (const auto place = Place(key, Length(value, run))) return value.items()[*place];
  } else if (key.IsInteger() && value.IsText()) {
    const std::vector<JinjaValue> characters = ToItems(value, run);
    if (const auto place = Place(key, static_cast<int64_t>(characters.size()))) return characters[*place];
  }
  return JinjaValue::Undefined(ToText(key, run));
}

JinjaValue GetSlice(const JinjaValue& value, const JinjaValue& from, const JinjaValue& to,
                    const JinjaValue& step, JinjaRun& run) {
  RequireDefined(value, run);
  if (!value.IsText() && !value.IsSequence()) run.Fail(Concat("a ", TypeName(value), " has no slices"));
  for (const JinjaValue* bound : {&from, &to, &step}) {
    if (!bound->Is(Kind::kNone) && !bound->IsInteger()) run.Fail("a slice whose bounds are no integers");
  }
  const std::vector<JinjaValue> items = ToItems(value, run);
  const auto size = static_cast<int64_t>(items.size());
  const int64_t stride = step.Is(Kind::kNone) ? 1 : step.integer();
  if (stride == 0) run.Fail("a slice with a step of 0");
  const int64_t lowest = stride > 0 ? 0 : -1;
  const int64_t highest = stride > 0 ? size : size - 1;
  const auto bound = [&](const JinjaValue& v, int64_t otherwise) {
    if (v.Is(Kind::kNone)) return otherwise;
    return std::clamp(v.integer() < 0 ? v.integer() + size : v.integer(), lowest, highest);
  };
  const int64_t first = bound(from, stride > 0 ? lowest : highest);
  const int64_t end = bound(to, stride > 0 ? highest : lowest);
  std::vector<JinjaValue> chosen;
  for (int64_t i = first; stride > 0 ? i < end : i > end;) {
    chosen.push_back(items[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  if (value.Is(Kind::kList)) return run.List(std::move(chosen));
  if (value.Is(Kind::kTuple)) return run.Tuple(std::move(chosen));
  std::string text;
  for (const JinjaValue& character : chosen) text += character.text();
  return run.Text(std::move(text));
}

JinjaValue Call(const JinjaValue& function, const JinjaArguments& arguments, JinjaRun& run) {
  RequireDefined(function, run);
  if (!function.Is(Kind::kFunction))
    run.Fail(Concat("a ", TypeName(function), " is called, which is no function"));
  const JinjaRun::Nested nested(run);
  return function.function().call(run, arguments);
}

}  // namespace gptq
