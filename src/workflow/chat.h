// A conversation with a model.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ordered_json.h"
#include "workflow/generate.h"

namespace gptq {

class Chat {
 public:
  // `where` names the model. `system` may be empty. Answers end where the model ends them or after
  // `options.tokens`. Throws Error where the model has no chat template.
  Chat(const Decoder& decoder, const Tokenizer& tokenizer, std::string where, std::string_view system,
       const GenerateOptions& options);

  // Answers `message`; only what the model has not read yet is computed. Where the conversation no longer
  // fits into the decoder's longest sequence its oldest messages are forgotten, but not the system's. Throws
  // Error where the message alone does not fit, and then forgets it.
  GenerateResult Answer(std::string_view message, const std::function<void(std::string_view)>& emit);

  const OrderedJson& messages() const { return messages_; }  // [{"role", "content"}, ...]

 private:
  std::vector<int32_t> Encode() const;
  void ForgetOldest();

  const Decoder& decoder_;
  const Tokenizer& tokenizer_;
  const std::string where_;
  const GenerateOptions options_;
  Sampler sampler_;
  KvCache cache_;
  std::vector<int32_t> read_;  // the tokens in the cache
  OrderedJson messages_ = OrderedJson::array();
};

}  // namespace gptq
