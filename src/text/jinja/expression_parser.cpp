#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace gptq {
namespace {

using Token = JinjaToken::Kind;

constexpr int kMostNesting = 60;  // of brackets and the like: each takes the parser about ten calls
constexpr int kMostDepth = 200;   // of the tree, chains of operators included

// From the weakest to the strongest.
constexpr std::array<std::array<std::string_view, 4>, 4> kBinaryOperators = {
    {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}}};

}  // namespace

JinjaExpressionParser::Node JinjaExpressionParser::Make(Kind kind, std::string name) const {
  auto node = std::make_unique<JinjaExpression>();
  node->kind = kind;
  node->line = tokens_.line();
  node->name = std::move(name);
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::Finish(Node node) const {
  const auto include = [&](const JinjaExpressionPtr& child) {
    if (child) node->depth = std::max(node->depth, child->depth + 1);
  };
  for (const JinjaExpressionPtr& child : node->operands) include(child);
  for (const JinjaExpressionPtr& child : node->arguments.positional) include(child);
  for (const auto& [name, child] : node->arguments.named) include(child);
  if (node->depth > kMostDepth) tokens_.Fail(Concat("an expression of more than ", kMostDepth, " levels"));
  return node;
}

template <typename... Operands>
JinjaExpressionPtr JinjaExpressionParser::Join(Node node, Operands... operands) const {
  (node->operands.push_back(std::move(operands)), ...);
  return Finish(std::move(node));
}

bool JinjaExpressionParser::IsTupleEnd() const {
  return tokens_.IsAt(Token::kBlockEnd) || tokens_.IsAt(Token::kPrintEnd) || tokens_.IsAtOperator(")") ||
         tokens_.IsAt(Token::kEnd) || tokens_.IsAtOperator("=");
}

JinjaExpressionPtr JinjaExpressionParser::ParseTuple(bool choices) {
  JinjaExpressionPtr first = Parse(choices);
  if (!tokens_.IsAtOperator(",")) return first;
  Node tuple = Make(Kind::kTuple);
  tuple->operands.push_back(std::move(first));
  while (tokens_.TakeOperator(",")) {
    if (IsTupleEnd()) break;
    tuple->operands.push_back(Parse(choices));
  }
  return Finish(std::move(tuple));
}

JinjaExpressionPtr JinjaExpressionParser::Parse(bool choices) {
  if (++nesting_ > kMostNesting)
    tokens_.Fail(Concat("expressions nested deeper than ", kMostNesting, " levels"));
  JinjaExpressionPtr value = ParseOr();
  while (choices && tokens_.IsAtName("if")) {
    Node choice = Make(Kind::kChoice);
    tokens_.Next();
    JinjaExpressionPtr condition = ParseOr();
    JinjaExpressionPtr otherwise = tokens_.TakeName("else") ? Parse() : nullptr;
    value = Join(std::move(choice), std::move(value), std::move(condition), std::move(otherwise));
  }
  --nesting_;
  return value;
}

JinjaExpressionPtr JinjaExpressionParser::ParseOr() {
  JinjaExpressionPtr left = ParseAnd();
  while (tokens_.TakeName("or")) left = Join(Make(Kind::kOr), std::move(left), ParseAnd());
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::ParseAnd() {
  JinjaExpressionPtr left = ParseNot();
  while (tokens_.TakeName("and")) left = Join(Make(Kind::kAnd), std::move(left), ParseNot());
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::ParseNot() {
  int count = 0;
  while (tokens_.TakeName("not")) ++count;
  JinjaExpressionPtr value = ParseCompare();
  if (count > kMostNesting) tokens_.Fail("too many 'not' in a row");
  while (count-- > 0) value = Join(Make(Kind::kUnary, "not"), std::move(value));
  return value;
}

JinjaExpressionPtr JinjaExpressionParser::ParseCompare() {
  constexpr std::array<std::string_view, 6> kComparisons = {"==", "!=", "<", "<=", ">", ">="};
  JinjaExpressionPtr first = ParseBinary(0);
  Node compare;
  while (true) {
    std::string op;
    if (tokens_.IsAt(Token::kOperator) && std::ranges::count(kComparisons, tokens_.Peek().text) > 0) {
      op = tokens_.Next().text;
    } else if (tokens_.TakeName("in")) {
      op = "in";
    } else if (tokens_.IsAtName("not") && tokens_.IsAtName("in", 1)) {
      tokens_.Next();
      tokens_.Next();
      op = "not in";
    } else {
      break;
    }
    if (!compare) {
      compare = Make(Kind::kCompare);
      compare->operands.push_back(std::move(first));
    }
    compare->operators.push_back(std::move(op));
    compare->operands.push_back(ParseBinary(0));
  }
  return compare ? Finish(std::move(compare)) : std::move(first);
}

JinjaExpressionPtr JinjaExpressionParser::ParseBinary(int level) {
  if (level == static_cast<int>(kBinaryOperators.size())) return ParseUnary(true);
  JinjaExpressionPtr left = ParseBinary(level + 1);
  const auto& operators = kBinaryOperators[static_cast<size_t>(level)];
  while (tokens_.IsAt(Token::kOperator) && std::ranges::count(operators, tokens_.Peek().text) > 0) {
    Node node = Make(Kind::kBinary, tokens_.Next().text);
    left = Join(std::move(node), std::move(left), ParseBinary(level + 1));
  }
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::ParseUnary(bool with_filters) {
  JinjaExpressionPtr value;
  if (tokens_.IsAtOperator("-") || tokens_.IsAtOperator("+")) {
    if (++nesting_ > kMostNesting) tokens_.Fail("too many signs in a row");
    Node node = Make(Kind::kUnary, tokens_.Next().text);
    value = Join(std::move(node), ParseUnary(false));
    --nesting_;
  } else {
    value = ParsePrimary();
  }
  value = ParsePostfix(std::move(value));
  return with_filters ? ParseFilters(std::move(value), false) : std::move(value);
}

JinjaExpressionPtr JinjaExpressionParser::ParsePrimary() {
  const JinjaToken& token = tokens_.Peek();
  if (token.kind == Token::kName) {
    const std::string name = token.text;
    const Kind kind = name == "true" || name == "True"     ? Kind::kTrue
                      : name == "false" || name == "False" ? Kind::kFalse
                      : name == "none" || name == "None"   ? Kind::kNone
                                                           : Kind::kName;
    Node node = Make(kind, name);
    tokens_.Next();
    return node;
  }
  if (token.kind == Token::kText) {
    Node node = Make(Kind::kText);
    while (tokens_.IsAt(Token::kText)) node->name += tokens_.Next().text;
    return node;
  }
  if (token.kind == Token::kInteger || token.kind == Token::kFloat) {
    Node node = Make(token.kind == Token::kInteger ? Kind::kInteger : Kind::kFloat);
    const std::string& digits = token.text;
    const char* end = digits.data() + digits.size();
    const auto error = node->kind == Kind::kInteger ? std::from_chars(digits.data(), end, node->integer).ec
                                                    : std::from_chars(digits.data(), end, node->real).ec;
    if (error != std::errc()) tokens_.Fail(Concat("the number ", digits.substr(0, 60), " is too large"));
    tokens_.Next();
    return node;
  }
  if (tokens_.IsAtOperator("[")) return ParseList();
  if (tokens_.IsAtOperator("{")) return ParseDict();
  if (!tokens_.TakeOperator("(")) tokens_.Fail(Concat("expected a value, found ", tokens_.Found()));
  if (tokens_.TakeOperator(")")) return Make(Kind::kTuple);
  JinjaExpressionPtr value = ParseTuple();
  tokens_.ExpectOperator(")");
  return value;
}

JinjaExpressionPtr JinjaExpressionParser::ParseList() {
  Node list = Make(Kind::kList);
  tokens_.ExpectOperator("[");
  while (!tokens_.IsAtOperator("]")) {
    list->operands.push_back(Parse());
    if (!tokens_.TakeOperator(",")) break;
  }
  tokens_.ExpectOperator("]");
  return Finish(std::move(list));
}

JinjaExpressionPtr JinjaExpressionParser::ParseDict() {
  Node dict = Make(Kind::kDict);
  tokens_.ExpectOperator("{");
  while (!tokens_.IsAtOperator("}")) {
    dict->operands.push_back(Parse());
    tokens_.ExpectOperator(":");
    dict->operands.push_back(Parse());
    if (!tokens_.TakeOperator(",")) break;
  }
  tokens_.ExpectOperator("}");
  return Finish(std::move(dict));
}

JinjaExpressionPtr JinjaExpressionParser::ParsePostfix(JinjaExpressionPtr operand) {
  while (true) {
    if (tokens_.TakeOperator(".")) {
      Node node = Make(tokens_.IsAt(Token::kInteger) ? Kind::kItem : Kind::kMember);
      if (node->kind == Kind::kItem) {
        operand = Join(std::move(node), std::move(operand), ParsePrimary());
      } else {
        node->name = tokens_.ExpectName();
        operand = Join(std::move(node), std::move(operand));
      }
    } else if (tokens_.IsAtOperator("[")) {
      operand = ParseSubscript(std::move(operand));
    } else if (tokens_.IsAtOperator("(")) {
      Node node = Make(Kind::kCall);
      node->arguments = ParseArguments();
      operand = Join(std::move(node), std::move(operand));
    } else {
      return operand;
    }
  }
}

JinjaExpressionPtr JinjaExpressionParser::ParseSubscript(JinjaExpressionPtr operand) {
  Node node = Make(Kind::kItem);
  tokens_.ExpectOperator("[");
  std::array<JinjaExpressionPtr, 3> bounds;
  size_t colons = 0;
  while (true) {
    if (!tokens_.IsAtOperator("]") && !tokens_.IsAtOperator(":")) bounds[colons] = Parse();
    if (colons == 2 || !tokens_.TakeOperator(":")) break;
    ++colons;
  }
  tokens_.ExpectOperator("]");
  if (colons > 0) {
    node->kind = Kind::kSlice;
    return Join(std::move(node), std::move(operand), std::move(bounds[0]), std::move(bounds[1]),
                std::move(bounds[2]));
  }
  if (!bounds[0]) tokens_.Fail("a subscript without a value");
  return Join(std::move(node), std::move(operand), std::move(bounds[0]));
}

JinjaCallArguments JinjaExpressionParser::ParseArguments() {
  JinjaCallArguments arguments;
  tokens_.ExpectOperator("(");
  while (!tokens_.IsAtOperator(")")) {
    if (tokens_.IsAtOperator("*") || tokens_.IsAtOperator("**"))
      tokens_.Fail("a call with '*' or '**', which is not supported");
    if (tokens_.IsAt(Token::kName) && tokens_.IsAtOperator("=", 1)) {
      const std::string name = tokens_.Next().text;
      tokens_.Next();
      arguments.named.emplace_back(name, Parse());
    } else {
      if (!arguments.named.empty()) tokens_.Fail("a positional argument behind a named one");
      arguments.positional.push_back(Parse());
    }
    if (!tokens_.TakeOperator(",")) break;
  }
  tokens_.ExpectOperator(")");
  return arguments;
}

JinjaExpressionPtr JinjaExpressionParser::ParseFilters(JinjaExpressionPtr operand, bool at_filter_name) {
  while (true) {
    if (at_filter_name || tokens_.TakeOperator("|")) {
      at_filter_name = false;
      Node node = Make(Kind::kFilter, tokens_.ExpectName());
      if (tokens_.IsAtOperator("(")) node->arguments = ParseArguments();
      operand = Join(std::move(node), std::move(operand));
    } else if (operand && tokens_.TakeName("is")) {
      operand = ParseTest(std::move(operand));
    } else if (operand && tokens_.IsAtOperator("(")) {
      operand = ParsePostfix(std::move(operand));
    } else {
      return operand;
    }
  }
}

JinjaExpressionPtr JinjaExpressionParser::ParseTest(JinjaExpressionPtr operand) {
  const bool negated = tokens_.TakeName("not");
  Node test = Make(Kind::kTest, tokens_.ExpectName());
  const bool value_follows =
      tokens_.IsAt(Token::kText) || tokens_.IsAt(Token::kInteger) || tokens_.IsAt(Token::kFloat) ||
      tokens_.IsAtOperator("[") || tokens_.IsAtOperator("{") ||
      (tokens_.IsAt(Token::kName) && !tokens_.IsAtName("else") && !tokens_.IsAtName("or") &&
       !tokens_.IsAtName("and") && !tokens_.IsAtName("is") && !tokens_.IsAtName("if") &&
       !tokens_.IsAtName("not") && !tokens_.IsAtName("in"));
  if (tokens_.IsAtOperator("(")) {
    test->arguments = ParseArguments();
  } else if (value_follows) {
    test->arguments.positional.push_back(ParsePostfix(ParsePrimary()));
  }
  JinjaExpressionPtr result = Join(std::move(test), std::move(operand));
  return negated ? Join(Make(Kind::kUnary, "not"), std::move(result)) : std::move(result);
}

}  // namespace gptq
