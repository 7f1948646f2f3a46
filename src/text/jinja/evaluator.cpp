#include "text/jinja/evaluator.h"

#include <algorithm>

#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace gptq {

JinjaEvaluator::Flow JinjaEvaluator::Run(const JinjaBody& body, const JinjaScopePtr& scope,
                                         std::string& output) {
  const JinjaRun::Nested nested(run_);
  for (const auto& statement : body) {
    const Flow flow = Run(*statement, scope, output);
    run_.CheckOutput(output.size());
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

JinjaEvaluator::Flow JinjaEvaluator::Run(const JinjaStatement& s, const JinjaScopePtr& scope,
                                         std::string& output) {
  run_.Step();
  run_.line = s.line;
  switch (s.kind) {
    case JinjaStatement::Kind::kText:
      output += s.text;
      break;
    case JinjaStatement::Kind::kPrint:
      output += ToText(Evaluate(*s.value, scope), run_);
      break;
    case JinjaStatement::Kind::kIf:
      return RunIf(s, scope, output);
    case JinjaStatement::Kind::kFor:
      return RunFor(s, scope, output);
    case JinjaStatement::Kind::kBreak:
      return Flow::kBreak;
    case JinjaStatement::Kind::kContinue:
      return Flow::kContinue;
    case JinjaStatement::Kind::kSet:
    case JinjaStatement::Kind::kSetBlock:
      RunSet(s, scope);
      break;
    case JinjaStatement::Kind::kMacro:
      scope->Set(s.macro->name, MakeMacro(s.macro, scope));
      break;
    case JinjaStatement::Kind::kCallBlock:
      RunCallBlock(s, scope, output);
      break;
    case JinjaStatement::Kind::kFilter: {
      JinjaValue text = run_.Text(Print(s.body, scope));
      output += ToText(expressions_.ApplyFilters(*s.value, std::move(text), scope), run_);
      break;
    }
    case JinjaStatement::Kind::kWith:
    case JinjaStatement::Kind::kScope:
      return RunWith(s, scope, output);
  }
  return Flow::kNext;
}

JinjaEvaluator::Flow JinjaEvaluator::RunIf(const JinjaStatement& s, const JinjaScopePtr& scope,
                                           std::string& output) {
  for (const JinjaStatement::Branch& branch : s.branches) {
    if (!branch.condition || IsTrue(Evaluate(*branch.condition, scope)))
      return Run(branch.body, scope, output);
  }
  return Flow::kNext;
}

void JinjaEvaluator::Assign(const std::vector<std::string>& targets, const JinjaValue& value,
                            const JinjaScopePtr& scope) {
  if (targets.size() == 1) return scope->Set(targets[0], value);
  const std::vector<JinjaValue> items = ToItems(value, run_);
  if (items.size() != targets.size())
    run_.Fail(Concat(items.size(), " values for ", targets.size(), " names"));
  for (size_t i = 0; i < targets.size(); ++i) scope->Set(targets[i], items[i]);
}

// The items whose condition holds.
std::vector<JinjaValue> JinjaEvaluator::LoopItems(const JinjaStatement& s, const JinjaScopePtr& scope) {
  std::vector<JinjaValue> items = ToItems(Evaluate(*s.value, scope), run_);
  if (!s.condition) return items;
  std::erase_if(items, [&](const JinjaValue& item) {
    const auto inner = std::make_shared<JinjaScope>(scope);
    Assign(s.targets, item, inner);
    return !IsTrue(Evaluate(*s.condition, inner));
  });
  return items;
}

// One dict for the whole loop, so that a name given to it in an outer loop goes with that loop.
void JinjaEvaluator::SetLoop(const JinjaValue& loop, const std::vector<JinjaValue>& items, size_t index) {
  const auto set = [&](const char* name, JinjaValue value) {
    SetItem(loop, run_.Text(name), std::move(value), run_);
  };
  const auto number = [](size_t n) { return JinjaValue::Integer(static_cast<int64_t>(n)); };
  const size_t count = items.size();
  set("index", number(index + 1));
  set("index0", number(index));
  set("revindex", number(count - index));
  set("revindex0", number(count - index - 1));
  set("first", JinjaValue::Bool(index == 0));
  set("last", JinjaValue::Bool(index + 1 == count));
  set("length", number(count));
  set("depth", JinjaValue::Integer(1));  // more only in recursive loops
  set("depth0", JinjaValue::Integer(0));
  set("previtem", index > 0 ? items[index - 1] : JinjaValue::Undefined("there is no previous item"));
  set("nextitem", index + 1 < count ? items[index + 1] : JinjaValue::Undefined("there is no next item"));
  set("cycle", run_.Function("cycle", [index](JinjaRun& run, const JinjaArguments& arguments) {
    if (arguments.positional.empty()) run.Fail("a cycle of nothing");
    return arguments.positional[index % arguments.positional.size()];
  }));
}

JinjaEvaluator::Flow JinjaEvaluator::RunFor(const JinjaStatement& s, const JinjaScopePtr& scope,
                                            std::string& output) {
  const std::vector<JinjaValue> items = LoopItems(s, scope);
  if (items.empty()) return Run(s.otherwise, scope, output);
  const JinjaValue loop = run_.Dict();
  for (size_t i = 0; i < items.size(); ++i) {
    const auto inner = std::make_shared<JinjaScope>(scope);
    SetLoop(loop, items, i);
    inner->Set("loop", loop);
    Assign(s.targets, items[i], inner);
    if (Run(s.body, inner, output) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

void JinjaEvaluator::RunSet(const JinjaStatement& s, const JinjaScopePtr& scope) {
  JinjaValue value;
  if (s.kind == JinjaStatement::Kind::kSet) {
    value = Evaluate(*s.value, scope);
  } else {
    value = run_.Text(Print(s.body, scope));
    if (s.value) value = expressions_.ApplyFilters(*s.value, std::move(value), scope);
  }
  if (s.member.empty()) return Assign(s.targets, value, scope);
  const JinjaValue* target = scope->Find(s.targets[0]);
  if (target == nullptr || !target->Is(JinjaValue::Kind::kNamespace))
    run_.Fail(Concat("'", s.targets[0], "' is no namespace, so its '", s.member, "' cannot be set"));
  SetItem(*target, run_.Text(s.member), std::move(value), run_);
}

std::string JinjaEvaluator::Print(const JinjaBody& body, const JinjaScopePtr& scope) {
  std::string text;
  Run(body, std::make_shared<JinjaScope>(scope), text);
  run_.SpendBytes(static_cast<int64_t>(text.size()));
  return text;
}

JinjaEvaluator::Flow JinjaEvaluator::RunWith(const JinjaStatement& s, const JinjaScopePtr& scope,
                                             std::string& output) {
  const auto inner = std::make_shared<JinjaScope>(scope);
  for (const auto& [name, value] : s.names) inner->Set(name, Evaluate(*value, scope));
  return Run(s.body, inner, output);
}

JinjaValue JinjaEvaluator::MakeMacro(const std::shared_ptr<const JinjaMacro>& macro,
                                     const JinjaScopePtr& scope) {
  return run_.Function(macro->name, [this, macro, scope](JinjaRun&, const JinjaArguments& arguments) {
    return CallMacro(*macro, scope, arguments);
  });
}

JinjaValue JinjaEvaluator::CallMacro(const JinjaMacro& macro, const JinjaScopePtr& defined_in,
                                     const JinjaArguments& arguments) {
  const auto scope = std::make_shared<JinjaScope>(defined_in);
  const size_t count = macro.parameters.size();
  const size_t required = count - macro.defaults.size();
  if (arguments.positional.size() > count)
    run_.Fail(Concat("the macro '", macro.name, "' takes at most ", count, " arguments"));
  for (const auto& [name, value] : arguments.named) {
    if (name != "caller" && std::ranges::find(macro.parameters, name) == macro.parameters.end())
      run_.Fail(Concat("the macro '", macro.name, "' takes no argument '", name, "'"));
    scope->Set(name, value);
  }
  const int line = run_.line;
  for (size_t i = 0; i < count; ++i) {
    const std::string& name = macro.parameters[i];
    if (i < arguments.positional.size()) {
      scope->Set(name, arguments.positional[i]);
    } else if (std::ranges::find(arguments.named, name, &std::pair<std::string, JinjaValue>::first) ==
               arguments.named.end()) {
      scope->Set(name,
                 i < required ? JinjaValue::Undefined(name) : Evaluate(*macro.defaults[i - required], scope));
    }
  }
  std::string text;
  Run(macro.body, scope, text);
  run_.line = line;
  return run_.Text(std::move(text));
}

void JinjaEvaluator::RunCallBlock(const JinjaStatement& s, const JinjaScopePtr& scope, std::string& output) {
  const JinjaValue function = Evaluate(*s.value->operands[0], scope);
  JinjaArguments arguments = expressions_.EvaluateArguments(s.value->arguments, scope);
  arguments.named.emplace_back("caller", MakeMacro(s.macro, scope));
  output += ToText(Call(function, arguments, run_), run_);
}

}  // namespace gptq
