// Expressions of a template, with Jinja's precedences.
#pragma once

#include <memory>
#include <string_view>

#include "text/jinja/syntax.h"
#include "text/jinja/token_stream.h"

namespace gptq {

class JinjaExpressionParser {
 public:
  explicit JinjaExpressionParser(JinjaTokenStream& tokens) : tokens_(tokens) {}

  // An expression; with commas, a tuple. `choices` false: "x if y" ends before the "if", as in a loop.
  JinjaExpressionPtr ParseTuple(bool choices = true);
  JinjaExpressionPtr Parse(bool choices = true);
  // The filters behind `operand`, which may be null; at least one where `required`.
  JinjaExpressionPtr ParseFilters(JinjaExpressionPtr operand, bool at_filter_name);
  JinjaCallArguments ParseArguments();  // from "(" to ")"

 private:
  using Kind = JinjaExpression::Kind;
  using Node = std::unique_ptr<JinjaExpression>;
  Node Make(Kind kind, std::string name = "") const;
  template <typename... Operands>
  JinjaExpressionPtr Join(Node node, Operands... operands) const;
  JinjaExpressionPtr Finish(Node node) const;

  JinjaExpressionPtr ParseOr();
  JinjaExpressionPtr ParseAnd();
  JinjaExpressionPtr ParseNot();
  JinjaExpressionPtr ParseCompare();
  JinjaExpressionPtr ParseBinary(int level);
  JinjaExpressionPtr ParseUnary(bool with_filters);
  JinjaExpressionPtr ParsePrimary();
  JinjaExpressionPtr ParseList();
  JinjaExpressionPtr ParseDict();
  JinjaExpressionPtr ParsePostfix(JinjaExpressionPtr operand);
  JinjaExpressionPtr ParseSubscript(JinjaExpressionPtr operand);
  JinjaExpressionPtr ParseTest(JinjaExpressionPtr operand);
  bool IsTupleEnd() const;

  JinjaTokenStream& tokens_;
  int nesting_ = 0;
};

}  // namespace gptq
