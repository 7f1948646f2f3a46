#include "workflow/chat.h"

#include <algorithm>
#include <utility>

#include "text/chat_template.h"

namespace gptq {
namespace {

OrderedJson Message(std::string_view role, std::string_view content) {
  return {{"role", role}, {"content", content}};
}

}  // namespace

Chat::Chat(const Decoder& decoder, const Tokenizer& tokenizer, std::string where, std::string_view system,
           const GenerateOptions& options)
    : decoder_(decoder),
      tokenizer_(tokenizer),
      where_(std::move(where)),
      options_(options),
      sampler_(options.sampling),
      cache_(decoder.MakeCache(decoder.max_tokens(), KvType(options.kv_bits))) {
  if (!system.empty()) messages_.push_back(Message("system", system));
  if (!tokenizer.chat_template()) {
    throw Error("this model has no chat template", where_,
                "take one that was trained on conversations, or gptq generate");
  }
}

std::vector<int32_t> Chat::Encode() const {
  return EncodeChat(tokenizer_, RenderChat(tokenizer_, messages_, {}, where_));
}

// A question and its answer.
void Chat::ForgetOldest() {
  const size_t first = messages_.front().at("role") == "system" ? 1 : 0;
  messages_.erase(first);
  if (messages_.size() > first + 1 && messages_[first].at("role") == "assistant") messages_.erase(first);
}

GenerateResult Chat::Answer(std::string_view message, const std::function<void(std::string_view)>& emit) {
  const OrderedJson before = messages_;
  messages_.push_back(Message("user", message));
  std::vector<int32_t> all = Encode();
  const size_t kept = before.empty() || before.front().at("role") != "system" ? 1 : 2;
  while (static_cast<int64_t>(all.size()) >= decoder_.max_tokens() && messages_.size() > kept) {
    ForgetOldest();
    all = Encode();
  }
  if (static_cast<int64_t>(all.size()) >= decoder_.max_tokens()) {
    messages_ = before;
    throw Error(
        Concat("the message takes ", all.size(), " tokens, and fewer than ", decoder_.max_tokens(), " fit"),
        "--context", "shorten it or allow more");
  }
  // At least the last token is read again: its logits are needed.
  const auto end = std::min(read_.size(), all.size() - 1);
  cache_.tokens =
      std::mismatch(read_.begin(), read_.begin() + static_cast<std::ptrdiff_t>(end), all.begin()).first -
      read_.begin();
  GenerateResult result = Continue(decoder_, tokenizer_, cache_, all, options_, sampler_, emit);
  all.resize(static_cast<size_t>(cache_.tokens));  // the last token may not have been read
  read_ = std::move(all);
  messages_.push_back(Message("assistant", result.text));
  return result;
}

}  // namespace gptq
