// One text that is being continued, whoever computes its logits.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/decoder.h"
#include "text/tokenizer.h"
#include "workflow/generate.h"
#include "workflow/sampler.h"
#include "workflow/stop_strings.h"

namespace gptq {

// A prompt's tokens; one of no token at all begins where a text begins. Throws Error where that is nowhere.
std::vector<int32_t> PromptIds(const Tokenizer& tokenizer, std::string_view prompt);

class Continuation {
 public:
  // Appends to `all`, which holds the prompt. All references must outlive it. Throws Error where not one
  // token more fits into the cache.
  Continuation(const Decoder& decoder, const Tokenizer& tokenizer, const KvCache& cache,
               std::vector<int32_t>& all, const GenerateOptions& options, Sampler& sampler,
               const std::function<void(std::string_view)>& emit);

  // Chooses the next token by the logits [1, vocabulary] after the last one; false: the text ends here.
  // Throws Error for logits that are not finite.
  bool Take(MatrixView logits);
  // Text, ids and prompt_tokens are filled in.
  GenerateResult& result() { return result_; }

 private:
  // False: it was the last one.
  bool Append(MatrixView logits);
  void Show(const std::string& piece);

  const Decoder& decoder_;
  const Tokenizer& tokenizer_;
  std::vector<int32_t>& all_;
  Sampler& sampler_;
  const std::function<void(std::string_view)>& emit_;
  int64_t asked_, tokens_;  // at most; as many as fit
  StreamingDecoder stream_;
  StopStrings stop_;
  GenerateResult result_;
};

}  // namespace gptq
