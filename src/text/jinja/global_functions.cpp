// Functions that every template has.
#include <ctime>

#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/run.h"

namespace gptq {
namespace {

// range(stop), range(start, stop[, step])
JinjaValue Range(JinjaRun& run, const JinjaArguments& arguments) {
  constexpr int64_t kMost = 100'000;  // as Jinja's own sandbox
  const auto given = Match(arguments, {"start", "stop", "step"}, run);
  const int64_t first = IntegerOr(&Required(given[0], run), 0, run);
  const int64_t begin = given[1] == nullptr ? 0 : first;
  const int64_t end = given[1] == nullptr ? first : IntegerOr(given[1], 0, run);
  const int64_t step = IntegerOr(given[2], 1, run);
  if (step == 0) run.Fail("a range with a step of 0");
  std::vector<JinjaValue> items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<int64_t>(items.size()) == kMost)
      run.Fail(Concat("a range of more than ", kMost, " numbers"));
    items.push_back(JinjaValue::Integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return run.List(std::move(items));
}

JinjaValue Fill(JinjaValue mapping, const JinjaArguments& arguments, JinjaRun& run) {
  if (arguments.positional.size() > 1) run.Fail("more than one dict to copy");
  for (const JinjaValue& source : arguments.positional) {
    if (!source.IsMapping()) run.Fail(Concat("a dict made from a ", TypeName(source)));
    for (const auto& [key, value] : source.dict().items) SetItem(mapping, key, value, run);
  }
  for (const auto& [name, value] : arguments.named) SetItem(mapping, run.Text(name), value, run);
  return mapping;
}

JinjaValue RaiseException(JinjaRun& run, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"message"}, run);
  run.Fail(Concat("the template refuses the conversation: ", ToText(Required(given[0], run), run)),
           "change the messages");
}

JinjaValue FormatTime(JinjaRun& run, const JinjaArguments& arguments) {
  const auto given = Match(arguments, {"format"}, run);
  const std::string format = TextOr(&Required(given[0], run), "", run);
  if (format.size() > 1000) run.Fail("a format of a date of more than 1000 bytes");
  std::string text(format.size() * 64 + 64, '\0');
  text.resize(std::strftime(text.data(), text.size(), format.c_str(), &run.now()));
  return run.Text(std::move(text));
}

}  // namespace

std::vector<std::pair<std::string, JinjaValue>> GlobalFunctions(JinjaRun& run) {
  const auto function = [&](const char* name, auto call) {
    return std::pair(std::string(name), run.Function(name, call));
  };
  return {
      function("range", Range),
      function("namespace", [](JinjaRun& r, const JinjaArguments& a) { return Fill(r.Namespace(), a, r); }),
      function("dict", [](JinjaRun& r, const JinjaArguments& a) { return Fill(r.Dict(), a, r); }),
      function("raise_exception", RaiseException),
      function("strftime_now", FormatTime),
  };
}

}  // namespace gptq
