#include "text/chat_template.h"

#include <optional>
#include <utility>

#include "base/error.h"
#include "text/jinja/evaluator.h"
#include "text/jinja/methods.h"
#include "text/jinja/parser.h"
#include "text/jinja/printing.h"

namespace gptq {
namespace {

std::tm ThisMoment() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

void CheckMessages(const OrderedJson& messages, std::string_view where) {
  constexpr const char* kShape = "give a list of messages, each with 'role' and 'content'";
  if (!messages.is_array() || messages.empty()) throw Error("no messages", where, kShape);
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool has_role =
        messages[i].is_object() && messages[i].contains("role") && messages[i]["role"].is_string();
    if (!has_role) throw Error(Concat("message ", i + 1, " has no 'role'"), where, kShape);
  }
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view source, std::string_view where)
    : where_(where), body_(std::make_shared<const JinjaBody>(ParseJinja(source, where))) {}

std::string ChatTemplate::Render(const OrderedJson& variables, const std::tm& now,
                                 const JinjaLimits& limits) const {
  JinjaRun run(where_, limits, now);
  const auto scope = std::make_shared<JinjaScope>();
  for (auto& [name, function] : GlobalFunctions(run)) scope->Set(name, std::move(function));
  for (const auto& [name, value] : variables.items()) scope->Set(name, run.FromJson(value));
  std::string text;
  JinjaEvaluator(run).Execute(*body_, scope, text);
  return text;
}

std::string RenderChat(const Tokenizer& tokenizer, const OrderedJson& messages, const ChatOptions& options,
                       std::string_view where) {
  if (!tokenizer.chat_template()) {
    throw Error("the model has no chat template", where,
                "use a model made for conversations, or generate from plain text");
  }
  CheckMessages(messages, where);
  OrderedJson variables = options.variables.is_object() ? options.variables : OrderedJson::object();
  const std::pair<const char*, std::optional<int32_t>> tokens[] = {{"bos_token", tokenizer.bos()},
                                                                   {"eos_token", tokenizer.eos()},
                                                                   {"pad_token", tokenizer.pad()},
                                                                   {"unk_token", tokenizer.unknown()}};
  for (const auto& [name, id] : tokens) {
    if (id) variables[name] = tokenizer.TokenText(*id);
  }
  variables["messages"] = messages;
  variables["tools"] = options.tools;
  variables["documents"] = nullptr;
  variables["add_generation_prompt"] = options.add_generation_prompt;
  const bool has_time = options.now.tm_mday != 0;
  return ChatTemplate(*tokenizer.chat_template(), Concat(where, ", chat template"))
      .Render(variables, has_time ? options.now : ThisMoment());
}

std::vector<int32_t> EncodeChat(const Tokenizer& tokenizer, std::string_view rendered) {
  return tokenizer.Encode(rendered, SpecialText::kRecognize);
}

}  // namespace gptq
