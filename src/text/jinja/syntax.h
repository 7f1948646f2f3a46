// What a template's source means: a tree of statements and expressions, made by the parser, walked by the
// evaluator, changed by nobody.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace gptq {

struct JinjaExpression;
struct JinjaStatement;
using JinjaExpressionPtr = std::unique_ptr<const JinjaExpression>;
using JinjaBody = std::vector<std::unique_ptr<const JinjaStatement>>;

struct JinjaCallArguments {
  std::vector<JinjaExpressionPtr> positional;
  std::vector<std::pair<std::string, JinjaExpressionPtr>> named;
};

struct JinjaExpression {
  enum class Kind : uint8_t {
    kNone,
    kTrue,
    kFalse,
    kInteger,  // integer
    kFloat,    // real
    kText,     // name: the text
    kName,     // name
    kList,     // operands
    kTuple,    // operands
    kDict,     // operands: key, value, key, value ...
    kUnary,    // name: "-", "+" or "not"; operands[0]
    kBinary,   // name: the operator; operands[0], operands[1]
    kAnd,      // operands[0], operands[1]
    kOr,       // operands[0], operands[1]
    kCompare,  // operands[0] op operands[1] op operands[2] ...; operators
    kChoice,   // operands[0] if operands[1] else operands[2], which may be absent
    kMember,   // operands[0].name
    kItem,     // operands[0][operands[1]]
    kSlice,    // operands[0][operands[1]:operands[2]:operands[3]], absent ones are null
    kCall,     // operands[0](arguments)
    kFilter,   // operands[0] | name(arguments); operands[0] is null in a filter block
    kTest,     // operands[0] is name(arguments)
  };
  Kind kind = Kind::kNone;
  int line = 1;
  int depth = 1;  // levels of expressions in it
  int64_t integer = 0;
  double real = 0;
  std::string name;
  std::vector<std::string> operators;
  std::vector<JinjaExpressionPtr> operands;
  JinjaCallArguments arguments;
};

struct JinjaMacro {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<JinjaExpressionPtr> defaults;  // of the last parameters
  JinjaBody body;
};

struct JinjaStatement {
  enum class Kind : uint8_t {
    kText,       // text
    kPrint,      // value
    kIf,         // branches
    kFor,        // for targets in value [if condition] body [else otherwise]
    kBreak,      // of the innermost loop
    kContinue,   // of the innermost loop
    kSet,        // set targets = value, or target.member = value
    kSetBlock,   // set targets[0] body; `value` is its filter, or null
    kMacro,      // macro
    kCallBlock,  // value is a call, macro its caller
    kFilter,     // value: filters, the innermost without operand, applied to body
    kWith,       // body with names set
    kScope,      // body
  };
  struct Branch {
    JinjaExpressionPtr condition;  // null: else
    JinjaBody body;
  };
  Kind kind = Kind::kText;
  int line = 1;
  std::string text;
  JinjaExpressionPtr value;
  JinjaExpressionPtr condition;
  std::vector<Branch> branches;
  std::vector<std::string> targets;
  std::string member;
  std::vector<std::pair<std::string, JinjaExpressionPtr>> names;
  std::shared_ptr<const JinjaMacro> macro;
  JinjaBody body;
  JinjaBody otherwise;
};

}  // namespace gptq
