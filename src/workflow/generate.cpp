#include "workflow/generate.h"

#include <algorithm>
#include <chrono>

#include "workflow/continuation.h"

namespace gptq {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

GenerateResult Continue(const Decoder& decoder, const Tokenizer& tokenizer, KvCache& cache,
                        std::vector<int32_t>& all, const GenerateOptions& options, Sampler& sampler,
                        const std::function<void(std::string_view)>& emit) {
  Continuation text(decoder, tokenizer, cache, all, options, sampler, emit);
  GenerateResult& result = text.result();
  auto start = std::chrono::steady_clock::now();
  Matrix logits, readable;
  const auto unread = std::span<const int32_t>(all).subspan(static_cast<size_t>(cache.tokens));
  result.read_tokens = static_cast<int64_t>(unread.size());
  const MatrixView hidden = decoder.Run(unread, cache);
  decoder.Logits(hidden.Rows(hidden.rows - 1, 1), logits);
  result.prefill_tokens_per_second = static_cast<double>(unread.size()) / SecondsSince(start);

  start = std::chrono::steady_clock::now();
  while (text.Take(decoder.backend().Readable(logits.view(), readable)))
    decoder.Logits(decoder.Run(std::span(&all.back(), 1), cache), logits);
  // The first token came out of the prefill.
  const double seconds = SecondsSince(start);
  if (result.ids.size() > 1)
    result.decode_tokens_per_second = static_cast<double>(result.ids.size() - 1) / seconds;
  return std::move(result);
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
