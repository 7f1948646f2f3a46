#include "workflow/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "workflow/stop_strings.h"

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

GenerateResult Continue(const Decoder& decoder, const Tokenizer& tokenizer, KvCache& cache,
                        std::vector<int32_t>& all, const GenerateOptions& options, Sampler& sampler,
                        const std::function<void(std::string_view)>& emit) {
  GenerateResult result;
  result.prompt_tokens = static_cast<int64_t>(all.size());
  const int64_t most = std::min(cache.capacity, decoder.max_tokens()), room = most - result.prompt_tokens;
  if (room < 1) {
    throw Error(Concat("the prompt has ", all.size(), " tokens, and at most ", most, " fit"), "--prompt",
                "shorten it");
  }
  const int64_t tokens = std::min(options.tokens, room);
  StreamingDecoder stream(tokenizer, /*show_special=*/false, /*continues=*/true);
  StopStrings stop(options.stop);
  const auto show = [&](const std::string& piece) {
    result.text += piece;
    if (emit && !piece.empty()) emit(piece);
  };

  auto start = std::chrono::steady_clock::now();
  Matrix logits;
  const auto unread = std::span<const int32_t>(all).subspan(static_cast<size_t>(cache.tokens));
  result.read_tokens = static_cast<int64_t>(unread.size());
  const MatrixView hidden = decoder.Run(unread, cache);
  decoder.Logits(hidden.Rows(hidden.rows - 1, 1), logits);
  result.prefill_tokens_per_second = static_cast<double>(unread.size()) / SecondsSince(start);

  start = std::chrono::steady_clock::now();
  while (!stop.found() && static_cast<int64_t>(result.ids.size()) < tokens) {
    CheckFinite(logits, decoder.spec());
    const int32_t id = sampler.Choose({logits.data(), static_cast<size_t>(logits.columns())}, all);
    if (tokenizer.IsEnd(id)) break;
    result.ids.push_back(id);
    all.push_back(id);
    show(stop.Next(stream.Next(id)));
    if (static_cast<int64_t>(result.ids.size()) == tokens) break;
    if (!stop.found()) decoder.Logits(decoder.Run(std::span(&id, 1), cache), logits);
  }
  show(stop.Next(stream.Finish()));
  show(stop.Finish());
  // The first token came out of the prefill.
  const double seconds = SecondsSince(start);
  if (result.ids.size() > 1)
    result.decode_tokens_per_second = static_cast<double>(result.ids.size() - 1) / seconds;
  return result;
}

GenerateResult Generate(const Decoder& decoder, const Tokenizer& tokenizer, std::string_view prompt,
                        const GenerateOptions& options, const std::function<void(std::string_view)>& emit) {
  std::vector<int32_t> all = PromptIds(tokenizer, prompt);
  const auto most = static_cast<int64_t>(all.size()) + options.tokens;
  KvCache cache = decoder.MakeCache(std::min(decoder.max_tokens(), most), KvType(options.kv_bits));
  Sampler sampler(options.sampling);
  return Continue(decoder, tokenizer, cache, all, options, sampler, emit);
}

}  // namespace gptq
