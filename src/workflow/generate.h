// Continuing a text.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/decoder.h"
#include "text/tokenizer.h"
#include "workflow/sampler.h"

namespace gptq {

struct GenerateOptions {
  int64_t tokens = 128;  // at most; an end-of-text token ends earlier
  SamplingOptions sampling;
  int kv_bits = 16;               // of the cache: 8 or 16
  std::vector<std::string> stop;  // the text ends before the first of these, none of them empty
};

struct GenerateResult {
  std::string text;
  std::vector<int32_t> ids;   // of the continuation
  bool context_full = false;  // it ends before all tokens that were asked for because no more fit
  int64_t prompt_tokens = 0;
  int64_t read_tokens = 0;  // of the prompt, those that were not in the cache
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;
};

// Continues the tokens `all`, of which `cache` holds the first ones, and appends to both. `emit` gets the
// text piece by piece, whole UTF-8 characters only. Throws Error where not one token more fits into the
// cache.
GenerateResult Continue(const Decoder& decoder, const Tokenizer& tokenizer, KvCache& cache,
                        std::vector<int32_t>& all, const GenerateOptions& options, Sampler& sampler,
                        const std::function<void(std::string_view)>& emit);
// The same from a text. Throws Error where prompt and continuation do not fit into the decoder's longest
// sequence.
GenerateResult Generate(const Decoder& decoder, const Tokenizer& tokenizer, std::string_view prompt,
                        const GenerateOptions& options, const std::function<void(std::string_view)>& emit);

}  // namespace gptq
