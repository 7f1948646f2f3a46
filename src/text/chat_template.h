// Conversations as the text that a model was trained on: the Jinja templates that models ship, with the
// settings and functions that transformers gives them. https://jinja.palletsprojects.com/templates
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ordered_json.h"
#include "text/jinja/run.h"
#include "text/jinja/syntax.h"
#include "text/tokenizer.h"

namespace gptq {

// A parsed template. Immutable; copies share the tree.
class ChatTemplate {
 public:
  // Throws Error naming `where` and the line for what is wrong or not supported.
  ChatTemplate(std::string_view source, std::string_view where);

  // The text, with the members of the object `variables` as the template's variables. `now`: for templates
  // that write the date. Throws Error naming the line; also where the template refuses the conversation
  // (raise_exception), or takes more than `limits` allow.
  std::string Render(const OrderedJson& variables, const std::tm& now, const JinjaLimits& limits = {}) const;

 private:
  std::string where_;
  std::shared_ptr<const JinjaBody> body_;
};

struct ChatOptions {
  bool add_generation_prompt = true;  // ends where the model's answer begins
  OrderedJson tools = nullptr;        // a list of functions, or null
  OrderedJson variables = nullptr;    // others that the template knows, such as enable_thinking, or null
  std::tm now = {};                   // for templates that write the date; zeros: this moment
};

// `messages`: [{"role": "user", "content": "..."}, ...]. Throws Error naming `where` (the model) when the
// tokenizer has no template, when `messages` is no such list, or as ChatTemplate::Render does.
std::string RenderChat(const Tokenizer& tokenizer, const OrderedJson& messages, const ChatOptions& options,
                       std::string_view where);

// Ids of a rendered conversation: special tokens are recognised and none is added, as the template has
// written those that belong there, BOS included.
std::vector<int32_t> EncodeChat(const Tokenizer& tokenizer, std::string_view rendered);

}  // namespace gptq
