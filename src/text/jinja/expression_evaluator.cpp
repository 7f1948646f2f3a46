#include "text/jinja/evaluator.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace gptq {

JinjaValue JinjaExpressionEvaluator::Evaluate(const JinjaExpression& e, const JinjaScopePtr& scope) {
  const JinjaRun::Nested nested(run_);
  run_.Step();
  run_.line = e.line;
  const auto operand = [&](size_t i) { return Evaluate(*e.operands[i], scope); };
  switch (e.kind) {
    case JinjaExpression::Kind::kNone:
      return JinjaValue();
    case JinjaExpression::Kind::kTrue:
    case JinjaExpression::Kind::kFalse:
      return JinjaValue::Bool(e.kind == JinjaExpression::Kind::kTrue);
    case JinjaExpression::Kind::kInteger:
      return JinjaValue::Integer(e.integer);
    case JinjaExpression::Kind::kFloat:
      return JinjaValue::Float(e.real);
    case JinjaExpression::Kind::kText:
      return run_.Text(e.name);
    case JinjaExpression::Kind::kName:
      return EvaluateName(e, scope);
    case JinjaExpression::Kind::kList:
    case JinjaExpression::Kind::kTuple:
    case JinjaExpression::Kind::kDict:
      return EvaluateContainer(e, scope);
    case JinjaExpression::Kind::kUnary:
      return EvaluateUnary(e, scope);
    case JinjaExpression::Kind::kBinary: {
      const JinjaValue left = operand(0);
      return Operate(e.name, left, operand(1), run_);
    }
    case JinjaExpression::Kind::kAnd:
    case JinjaExpression::Kind::kOr: {
      JinjaValue left = operand(0);
      return IsTrue(left) == (e.kind == JinjaExpression::Kind::kAnd) ? operand(1) : std::move(left);
    }
    case JinjaExpression::Kind::kCompare:
      return EvaluateCompare(e, scope);
    case JinjaExpression::Kind::kChoice:
      if (IsTrue(operand(1))) return operand(0);
      return e.operands[2] ? operand(2) : JinjaValue::Undefined("the value of an 'if' without 'else'");
    case JinjaExpression::Kind::kMember:
      return GetMember(operand(0), e.name, run_);
    case JinjaExpression::Kind::kItem: {
      const JinjaValue value = operand(0);
      return GetItem(value, operand(1), run_);
    }
    case JinjaExpression::Kind::kSlice:
      return EvaluateSlice(e, scope);
    case JinjaExpression::Kind::kCall: {
      const JinjaValue function = operand(0);
      const JinjaArguments arguments = EvaluateArguments(e.arguments, scope);
      run_.line = e.line;
      return Call(function, arguments, run_);
    }
    case JinjaExpression::Kind::kFilter:
      return EvaluateFilter(e, operand(0), scope);
    case JinjaExpression::Kind::kTest:
      return EvaluateTest(e, scope);
  }
  return JinjaValue();
}

JinjaArguments JinjaExpressionEvaluator::EvaluateArguments(const JinjaCallArguments& arguments,
                                                           const JinjaScopePtr& scope) {
  JinjaArguments values;
  for (const JinjaExpressionPtr& argument : arguments.positional)
    values.positional.push_back(Evaluate(*argument, scope));
  for (const auto& [name, argument] : arguments.named)
    values.named.emplace_back(name, Evaluate(*argument, scope));
  return values;
}

JinjaValue JinjaExpressionEvaluator::EvaluateName(const JinjaExpression& e, const JinjaScopePtr& scope) {
  const JinjaValue* found = scope->Find(e.name);
  return found != nullptr ? *found : JinjaValue::Undefined(e.name);
}

JinjaValue JinjaExpressionEvaluator::EvaluateContainer(const JinjaExpression& e, const JinjaScopePtr& scope) {
  std::vector<JinjaValue> items;
  for (const JinjaExpressionPtr& operand : e.operands) items.push_back(Evaluate(*operand, scope));
  if (e.kind == JinjaExpression::Kind::kList) return run_.List(std::move(items));
  if (e.kind == JinjaExpression::Kind::kTuple) return run_.Tuple(std::move(items));
  const JinjaValue dict = run_.Dict();
  for (size_t i = 0; i < items.size(); i += 2) SetItem(dict, items[i], std::move(items[i + 1]), run_);
  return dict;
}

JinjaValue JinjaExpressionEvaluator::EvaluateUnary(const JinjaExpression& e, const JinjaScopePtr& scope) {
  JinjaValue value = Evaluate(*e.operands[0], scope);
  if (e.name == "not") return JinjaValue::Bool(!IsTrue(value));
  if (e.name == "-") return Negative(value, run_);
  RequireDefined(value, run_);
  if (!value.IsNumber()) run_.Fail(Concat("there is no '+' of a ", TypeName(value)));
  return value;
}

JinjaValue JinjaExpressionEvaluator::EvaluateCompare(const JinjaExpression& e, const JinjaScopePtr& scope) {
  const auto holds = [&](const std::string& op, const JinjaValue& left, const JinjaValue& right) {
    if (op == "==") return AreEqual(left, right, run_);
    if (op == "!=") return !AreEqual(left, right, run_);
    if (op == "in") return Contains(right, left, run_);
    if (op == "not in") return !Contains(right, left, run_);
    RequireDefined(left, run_);
    RequireDefined(right, run_);
    if (op == "<") return IsLess(left, right, run_);
    if (op == ">") return IsLess(right, left, run_);
    if (op == "<=") return !IsLess(right, left, run_);
    return !IsLess(left, right, run_);
  };
  JinjaValue left = Evaluate(*e.operands[0], scope);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    JinjaValue right = Evaluate(*e.operands[i + 1], scope);
    if (!holds(e.operators[i], left, right)) return JinjaValue::Bool(false);
    left = std::move(right);
  }
  return JinjaValue::Bool(true);
}

JinjaValue JinjaExpressionEvaluator::EvaluateSlice(const JinjaExpression& e, const JinjaScopePtr& scope) {
  const JinjaValue value = Evaluate(*e.operands[0], scope);
  const auto bound = [&](size_t i) { return e.operands[i] ? Evaluate(*e.operands[i], scope) : JinjaValue(); };
  const JinjaValue from = bound(1);
  const JinjaValue to = bound(2);
  return GetSlice(value, from, to, bound(3), run_);
}

JinjaValue JinjaExpressionEvaluator::EvaluateFilter(const JinjaExpression& e, JinjaValue operand,
                                                    const JinjaScopePtr& scope) {
  const JinjaMethod filter = FindFilter(e.name);
  run_.line = e.line;
  if (filter == nullptr) run_.Fail(Concat("the filter '", e.name, "' is not supported"));
  const JinjaArguments arguments = EvaluateArguments(e.arguments, scope);
  run_.line = e.line;
  return filter(run_, operand, arguments);
}

JinjaValue JinjaExpressionEvaluator::ApplyFilters(const JinjaExpression& filters, JinjaValue input,
                                                  const JinjaScopePtr& scope) {
  const JinjaRun::Nested nested(run_);
  if (filters.kind != JinjaExpression::Kind::kFilter) run_.Fail("a block's filter that is none");
  if (filters.operands[0]) input = ApplyFilters(*filters.operands[0], std::move(input), scope);
  return EvaluateFilter(filters, std::move(input), scope);
}

JinjaValue JinjaExpressionEvaluator::EvaluateTest(const JinjaExpression& e, const JinjaScopePtr& scope) {
  const JinjaTest test = FindTest(e.name);
  if (test == nullptr) run_.Fail(Concat("the test '", e.name, "' is not supported"));
  const JinjaValue operand = Evaluate(*e.operands[0], scope);
  const JinjaArguments arguments = EvaluateArguments(e.arguments, scope);
  run_.line = e.line;
  return JinjaValue::Bool(test(run_, operand, arguments));
}

}  // namespace gptq
