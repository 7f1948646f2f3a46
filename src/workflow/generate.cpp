#include "workflow/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace gptq {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A prompt of no token at all begins where a text begins.
std::vector<int32_t> PromptIds(const Tokenizer& tokenizer, std::string_view prompt) {
  std::vector<int32_t> ids = tokenizer.TemplateBefore();
  const std::vector<int32_t> encoded = tokenizer.Encode(prompt);
  ids.insert(ids.end(), encoded.begin(), encoded.end());
  if (ids.empty() && tokenizer.bos()) ids.push_back(*tokenizer.bos());
  if (ids.empty() && tokenizer.eos()) ids.push_back(*tokenizer.eos());
  if (ids.empty()) throw Error("the prompt has no tokens", "--prompt", "give some text");
  return ids;
}

void CheckFinite(Matrix& logits, const ModelSpec& spec) {
  if (std::all_of(logits.data(), logits.data() + logits.view().elements(),
                  [](float x) { return std::isfinite(x); }))
    return;
  throw Error("the model's output is not finite", spec.where,
              "the weights are damaged or overflow; fetch the model again");
}

}  // namespace

GenerateResult Generate(const Decoder& decoder, const Tokenizer& tokenizer, std::string_view prompt,
                        const GenerateOptions& options, const std::function<void(std::string_view)>& emit) {
  std::vector<int32_t> all = PromptIds(tokenizer, prompt);
  GenerateResult result;
  result.prompt_tokens = static_cast<int64_t>(all.size());
  const int64_t room = decoder.max_tokens() - result.prompt_tokens;
  if (room < 1) {
    throw Error(
        Concat("the prompt has ", all.size(), " tokens, the model takes at most ", decoder.max_tokens()),
        "--prompt", "shorten it");
  }
  const int64_t tokens = std::min(options.tokens, room);
  KvCache cache = decoder.MakeCache(result.prompt_tokens + tokens);
  Sampler sampler(options.sampling);
  StreamingDecoder stream(tokenizer, /*show_special=*/false, /*continues=*/true);

  auto start = std::chrono::steady_clock::now();
  Matrix hidden = decoder.Run(all, cache);
  Matrix logits = decoder.Logits(hidden.view().Rows(hidden.rows() - 1, 1));
  result.prefill_tokens_per_second = static_cast<double>(all.size()) / SecondsSince(start);

  start = std::chrono::steady_clock::now();
  while (static_cast<int64_t>(result.ids.size()) < tokens) {
    CheckFinite(logits, decoder.spec());
    const int32_t id = sampler.Choose({logits.data(), static_cast<size_t>(logits.columns())}, all);
    if (tokenizer.IsEnd(id)) break;
    result.ids.push_back(id);
    all.push_back(id);
    const std::string piece = stream.Next(id);
    result.text += piece;
    if (emit && !piece.empty()) emit(piece);
    if (static_cast<int64_t>(result.ids.size()) == tokens) break;
    hidden = decoder.Run(std::span(&id, 1), cache);
    logits = decoder.Logits(hidden.view());
  }
  const std::string rest = stream.Finish();
  result.text += rest;
  if (emit && !rest.empty()) emit(rest);
  // The first token came out of the prefill.
  const double seconds = SecondsSince(start);
  if (result.ids.size() > 1)
    result.decode_tokens_per_second = static_cast<double>(result.ids.size() - 1) / seconds;
  return result;
}

}  // namespace gptq
