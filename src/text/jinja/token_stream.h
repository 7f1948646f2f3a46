// The tokens that a parser has still to read.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/jinja/lexer.h"

namespace gptq {

class JinjaTokenStream {
 public:
  JinjaTokenStream(std::vector<JinjaToken> tokens, std::string_view where)
      : tokens_(std::move(tokens)), where_(where) {}

  [[noreturn]] void Fail(std::string_view what) const {
    throw Error(what, Concat(where_, ", line ", Peek().line), "correct the template or give another one");
  }

  const JinjaToken& Peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  JinjaToken Next() {
    JinjaToken token = Peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  int line() const { return Peek().line; }

  bool IsAt(JinjaToken::Kind kind, size_t ahead = 0) const { return Peek(ahead).kind == kind; }
  bool IsAtName(std::string_view name, size_t ahead = 0) const {
    return IsAt(JinjaToken::Kind::kName, ahead) && Peek(ahead).text == name;
  }
  bool IsAtOperator(std::string_view op, size_t ahead = 0) const {
    return IsAt(JinjaToken::Kind::kOperator, ahead) && Peek(ahead).text == op;
  }
  bool TakeName(std::string_view name) { return IsAtName(name) && (Next(), true); }
  bool TakeOperator(std::string_view op) { return IsAtOperator(op) && (Next(), true); }

  std::string Expect(JinjaToken::Kind kind, std::string_view what) {
    if (!IsAt(kind)) Fail(Concat("expected ", what, ", found ", Found()));
    return Next().text;
  }
  void ExpectOperator(std::string_view op) {
    if (!TakeOperator(op)) Fail(Concat("expected '", op, "', found ", Found()));
  }
  std::string ExpectName() { return Expect(JinjaToken::Kind::kName, "a name"); }

  std::string Found() const {
    const JinjaToken& token = Peek();
    if (token.kind == JinjaToken::Kind::kBlockEnd || token.kind == JinjaToken::Kind::kPrintEnd)
      return "the end of the tag";
    return token.kind == JinjaToken::Kind::kEnd ? "the end" : Concat("'", token.text.substr(0, 60), "'");
  }

 private:
  std::vector<JinjaToken> tokens_;  // ends with kEnd
  std::string_view where_;
  size_t at_ = 0;
};

}  // namespace gptq
