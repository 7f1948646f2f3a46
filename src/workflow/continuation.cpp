#include "workflow/continuation.h"

#include <algorithm>
#include <cmath>

namespace gptq {

std::vector<int32_t> PromptIds(const Tokenizer& tokenizer, std::string_view prompt) {
  std::vector<int32_t> ids = tokenizer.TemplateBefore();
  const std::vector<int32_t> encoded = tokenizer.Encode(prompt);
  ids.insert(ids.end(), encoded.begin(), encoded.end());
  if (ids.empty() && tokenizer.bos()) ids.push_back(*tokenizer.bos());
  if (ids.empty() && tokenizer.eos()) ids.push_back(*tokenizer.eos());
  if (ids.empty()) throw Error("the prompt has no tokens", "--prompt", "give some text");
  return ids;
}

Continuation::Continuation(const Decoder& decoder, const Tokenizer& tokenizer, const KvCache& cache,
                           std::vector<int32_t>& all, const GenerateOptions& options, Sampler& sampler,
                           const std::function<void(std::string_view)>& emit)
    : decoder_(decoder),
      tokenizer_(tokenizer),
      all_(all),
      sampler_(sampler),
      emit_(emit),
      stream_(tokenizer, /*show_special=*/false, /*continues=*/true),
      stop_(options.stop) {
  result_.prompt_tokens = static_cast<int64_t>(all.size());
  const int64_t most = std::min(cache.capacity, decoder.max_tokens()), room = most - result_.prompt_tokens;
  if (room < 1) {
    throw Error(Concat("the prompt has ", all.size(), " tokens, and at most ", most, " fit"), "--prompt",
                "shorten it");
  }
  asked_ = options.tokens;
  tokens_ = std::min(asked_, room);
}

bool Continuation::Take(MatrixView logits) {
  if (Append(logits)) return true;
  Show(stop_.Next(stream_.Finish()));
  Show(stop_.Finish());
  return false;
}

bool Continuation::Append(MatrixView logits) {
  const std::span<const float> values(logits.data, static_cast<size_t>(logits.columns));
  if (!std::ranges::all_of(values, [](float x) { return std::isfinite(x); })) {
    throw Error("the model's output is not finite", decoder_.spec().where,
                "the weights are damaged or overflow; fetch the model again");
  }
  const int32_t id = sampler_.Choose(values, all_);
  if (tokenizer_.IsEnd(id)) return false;
  result_.ids.push_back(id);
  all_.push_back(id);
  Show(stop_.Next(stream_.Next(id)));
  if (stop_.found()) return false;
  const auto taken = static_cast<int64_t>(result_.ids.size());
  result_.context_full = taken == tokens_ && taken < asked_;
  return taken < tokens_;
}

void Continuation::Show(const std::string& piece) {
  result_.text += piece;
  if (emit_ && !piece.empty()) emit_(piece);
}

}  // namespace gptq
