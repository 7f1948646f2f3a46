// Walks a template's syntax tree.
#pragma once

#include <string>

#include "text/jinja/run.h"
#include "text/jinja/scope.h"
#include "text/jinja/syntax.h"

namespace gptq {

// The values of expressions.
class JinjaExpressionEvaluator {
 public:
  explicit JinjaExpressionEvaluator(JinjaRun& run) : run_(run) {}

  JinjaValue Evaluate(const JinjaExpression& expression, const JinjaScopePtr& scope);
  // Filters whose innermost operand is absent, applied to `input`.
  JinjaValue ApplyFilters(const JinjaExpression& filters, JinjaValue input, const JinjaScopePtr& scope);
  JinjaArguments EvaluateArguments(const JinjaCallArguments& arguments, const JinjaScopePtr& scope);

 private:
  JinjaValue EvaluateName(const JinjaExpression& expression, const JinjaScopePtr& scope);
  JinjaValue EvaluateContainer(const JinjaExpression& expression, const JinjaScopePtr& scope);
  JinjaValue EvaluateUnary(const JinjaExpression& expression, const JinjaScopePtr& scope);
  JinjaValue EvaluateCompare(const JinjaExpression& expression, const JinjaScopePtr& scope);
  JinjaValue EvaluateSlice(const JinjaExpression& expression, const JinjaScopePtr& scope);
  JinjaValue EvaluateFilter(const JinjaExpression& expression, JinjaValue operand,
                            const JinjaScopePtr& scope);
  JinjaValue EvaluateTest(const JinjaExpression& expression, const JinjaScopePtr& scope);

  JinjaRun& run_;
};

// Runs statements. The syntax tree must outlive it and the values that it made.
class JinjaEvaluator {
 public:
  explicit JinjaEvaluator(JinjaRun& run) : run_(run), expressions_(run) {}

  // Appends what the statements print.
  void Execute(const JinjaBody& body, const JinjaScopePtr& scope, std::string& output) {
    Run(body, scope, output);
  }

 private:
  enum class Flow { kNext, kBreak, kContinue };
  Flow Run(const JinjaBody& body, const JinjaScopePtr& scope, std::string& output);
  Flow Run(const JinjaStatement& statement, const JinjaScopePtr& scope, std::string& output);
  Flow RunIf(const JinjaStatement& statement, const JinjaScopePtr& scope, std::string& output);
  Flow RunFor(const JinjaStatement& statement, const JinjaScopePtr& scope, std::string& output);
  void RunSet(const JinjaStatement& statement, const JinjaScopePtr& scope);
  void RunCallBlock(const JinjaStatement& statement, const JinjaScopePtr& scope, std::string& output);
  Flow RunWith(const JinjaStatement& statement, const JinjaScopePtr& scope, std::string& output);

  JinjaValue Evaluate(const JinjaExpression& expression, const JinjaScopePtr& scope) {
    return expressions_.Evaluate(expression, scope);
  }
  std::vector<JinjaValue> LoopItems(const JinjaStatement& statement, const JinjaScopePtr& scope);
  void Assign(const std::vector<std::string>& targets, const JinjaValue& value, const JinjaScopePtr& scope);
  void SetLoop(const JinjaValue& loop, const std::vector<JinjaValue>& items, size_t index);
  JinjaValue MakeMacro(const std::shared_ptr<const JinjaMacro>& macro, const JinjaScopePtr& scope);
  JinjaValue CallMacro(const JinjaMacro& macro, const JinjaScopePtr& defined_in,
                       const JinjaArguments& arguments);
  std::string Print(const JinjaBody& body, const JinjaScopePtr& scope);

  JinjaRun& run_;
  JinjaExpressionEvaluator expressions_;
};

}  // namespace gptq
