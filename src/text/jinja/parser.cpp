#include "text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "text/jinja/expression_parser.h"
#include "text/jinja/token_stream.h"

namespace gptq {
namespace {

using Token = JinjaToken::Kind;
using Node = std::unique_ptr<JinjaStatement>;

constexpr int kMostBlocks = 60;

class Parser {
 public:
  Parser(std::string_view source, std::string_view where)
      : tokens_(TokenizeJinja(source, where), where), expressions_(tokens_) {}

  JinjaBody Parse() {
    JinjaBody body = ParseBody({});
    if (!tokens_.IsAt(Token::kEnd))
      tokens_.Fail(Concat("'", tokens_.Peek(1).text, "' without its beginning"));
    return body;
  }

 private:
  Node Make(JinjaStatement::Kind kind) const {
    auto node = std::make_unique<JinjaStatement>();
    node->kind = kind;
    node->line = tokens_.line();
    return node;
  }

  // Statements up to one of the tags `ends`, which is left; without any, up to the end.
  JinjaBody ParseBody(std::initializer_list<std::string_view> ends) {
    if (++nesting_ > kMostBlocks) tokens_.Fail(Concat("blocks nested deeper than ", kMostBlocks, " levels"));
    JinjaBody body;
    while (!tokens_.IsAt(Token::kEnd)) {
      if (tokens_.IsAt(Token::kData)) {
        Node text = Make(JinjaStatement::Kind::kText);
        text->text = tokens_.Next().text;
        body.push_back(std::move(text));
      } else if (tokens_.IsAt(Token::kPrintBegin)) {
        Node print = Make(JinjaStatement::Kind::kPrint);
        tokens_.Next();
        print->value = expressions_.ParseTuple();
        tokens_.Expect(Token::kPrintEnd, "the end of the tag '}}'");
        body.push_back(std::move(print));
      } else {
        const bool is_end = std::ranges::any_of(ends, [&](auto end) { return tokens_.IsAtName(end, 1); });
        if (is_end) break;
        if (tokens_.IsAt(Token::kName, 1) && tokens_.Peek(1).text.starts_with("end")) break;  // a stray one
        body.push_back(ParseTag());
      }
    }
    --nesting_;
    return body;
  }

  void ExpectTagEnd() { tokens_.Expect(Token::kBlockEnd, "the end of the tag '%}'"); }

  // {% NAME %}
  void ExpectTag(std::string_view name) {
    if (!tokens_.IsAt(Token::kBlockBegin) || !tokens_.IsAtName(name, 1))
      tokens_.Fail(Concat("expected the tag '", name, "'"));
    tokens_.Next();
    tokens_.Next();
    ExpectTagEnd();
  }

  Node ParseTag() {
    tokens_.Expect(Token::kBlockBegin, "a tag");
    const std::string name = tokens_.Expect(Token::kName, "the name of a tag");
    if (name == "if") return ParseIf();
    if (name == "for") return ParseFor();
    if (name == "set") return ParseSet();
    if (name == "macro") return ParseMacro();
    if (name == "call") return ParseCall();
    if (name == "filter") return ParseFilter();
    if (name == "with") return ParseWith();
    if (name == "generation") return ParseGeneration();
    if (name == "break" || name == "continue") {
      Node node = Make(name == "break" ? JinjaStatement::Kind::kBreak : JinjaStatement::Kind::kContinue);
      if (loops_ == 0) tokens_.Fail(Concat("'", name, "' outside of a loop"));
      ExpectTagEnd();
      return node;
    }
    tokens_.Fail(Concat("the tag '", name, "' is not supported"));
  }

  Node ParseIf() {
    Node node = Make(JinjaStatement::Kind::kIf);
    bool more = true;
    JinjaExpressionPtr condition = expressions_.ParseTuple();
    while (more) {
      ExpectTagEnd();
      JinjaBody body = ParseBody({"elif", "else", "endif"});
      node->branches.push_back({std::move(condition), std::move(body)});
      if (!tokens_.IsAt(Token::kBlockBegin) || tokens_.IsAtName("endif", 1)) break;
      tokens_.Next();
      more = tokens_.IsAtName("elif") || node->branches.back().condition != nullptr;
      if (tokens_.TakeName("elif")) {
        condition = expressions_.ParseTuple();
      } else if (!tokens_.TakeName("else") || !more) {
        tokens_.Fail(Concat("unexpected '", tokens_.Peek().text, "' in an 'if'"));
      }
    }
    ExpectTag("endif");
    return node;
  }

  // NAME or NAME, NAME ..., with or without brackets.
  std::vector<std::string> ParseTargets() {
    std::vector<std::string> names;
    const bool bracket = tokens_.TakeOperator("(");
    do {
      names.push_back(tokens_.ExpectName());
    } while (tokens_.TakeOperator(",") && tokens_.IsAt(Token::kName));
    if (bracket) tokens_.ExpectOperator(")");
    return names;
  }

  Node ParseFor() {
    Node node = Make(JinjaStatement::Kind::kFor);
    node->targets = ParseTargets();
    if (!tokens_.TakeName("in")) tokens_.Fail(Concat("expected 'in', found ", tokens_.Found()));
    node->value = expressions_.ParseTuple(false);
    if (tokens_.TakeName("if")) node->condition = expressions_.Parse();
    if (tokens_.IsAtName("recursive")) tokens_.Fail("a recursive loop, which is not supported");
    ExpectTagEnd();
    ++loops_;
    node->body = ParseBody({"else", "endfor"});
    --loops_;
    if (tokens_.IsAtName("else", 1)) {
      ExpectTag("else");
      node->otherwise = ParseBody({"endfor"});
    }
    ExpectTag("endfor");
    return node;
  }

  Node ParseSet() {
    Node node = Make(JinjaStatement::Kind::kSet);
    node->targets = ParseTargets();
    if (node->targets.size() == 1 && tokens_.TakeOperator(".")) node->member = tokens_.ExpectName();
    if (tokens_.TakeOperator("=")) {
      node->value = expressions_.ParseTuple();
      ExpectTagEnd();
      return node;
    }
    node->kind = JinjaStatement::Kind::kSetBlock;
    if (tokens_.IsAtOperator("|")) node->value = expressions_.ParseFilters(nullptr, false);
    ExpectTagEnd();
    node->body = ParseBody({"endset"});
    ExpectTag("endset");
    return node;
  }

  // (NAME, NAME = default ...)
  void ParseParameters(JinjaMacro* macro) {
    tokens_.ExpectOperator("(");
    while (!tokens_.IsAtOperator(")")) {
      macro->parameters.push_back(tokens_.ExpectName());
      if (tokens_.TakeOperator("=")) {
        macro->defaults.push_back(expressions_.Parse());
      } else if (!macro->defaults.empty()) {
        tokens_.Fail("a parameter without a default behind one with a default");
      }
      if (!tokens_.TakeOperator(",")) break;
    }
    tokens_.ExpectOperator(")");
  }

  void ParseMacroBody(JinjaMacro* macro, std::string_view end) {
    ExpectTagEnd();
    const int loops = std::exchange(loops_, 0);
    macro->body = ParseBody({end});
    loops_ = loops;
    ExpectTag(end);
  }

  Node ParseMacro() {
    Node node = Make(JinjaStatement::Kind::kMacro);
    auto macro = std::make_shared<JinjaMacro>();
    macro->name = tokens_.ExpectName();
    ParseParameters(macro.get());
    ParseMacroBody(macro.get(), "endmacro");
    node->macro = std::move(macro);
    return node;
  }

  Node ParseCall() {
    Node node = Make(JinjaStatement::Kind::kCallBlock);
    auto caller = std::make_shared<JinjaMacro>();
    caller->name = "caller";
    if (tokens_.IsAtOperator("(")) ParseParameters(caller.get());
    node->value = expressions_.Parse();
    if (node->value->kind != JinjaExpression::Kind::kCall) tokens_.Fail("a call block without a call");
    ParseMacroBody(caller.get(), "endcall");
    node->macro = std::move(caller);
    return node;
  }

  Node ParseFilter() {
    Node node = Make(JinjaStatement::Kind::kFilter);
    node->value = expressions_.ParseFilters(nullptr, true);
    ExpectTagEnd();
    node->body = ParseBody({"endfilter"});
    ExpectTag("endfilter");
    return node;
  }

  Node ParseWith() {
    Node node = Make(JinjaStatement::Kind::kWith);
    while (tokens_.IsAt(Token::kName)) {
      const std::string name = tokens_.Next().text;
      tokens_.ExpectOperator("=");
      node->names.emplace_back(name, expressions_.Parse());
      if (!tokens_.TakeOperator(",")) break;
    }
    ExpectTagEnd();
    node->body = ParseBody({"endwith"});
    ExpectTag("endwith");
    return node;
  }

  // Marks what a model answers, for training; the text is the same.
  Node ParseGeneration() {
    Node node = Make(JinjaStatement::Kind::kScope);
    ExpectTagEnd();
    node->body = ParseBody({"endgeneration"});
    ExpectTag("endgeneration");
    return node;
  }

  JinjaTokenStream tokens_;
  JinjaExpressionParser expressions_;
  int nesting_ = 0;
  int loops_ = 0;
};

}  // namespace

JinjaBody ParseJinja(std::string_view source, std::string_view where) {
  return Parser(source, where).Parse();
}

}  // namespace gptq
