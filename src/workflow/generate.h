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
};

struct GenerateResult {
  std::string text;
  std::vector<int32_t> ids;  // of the continuation
  int64_t prompt_tokens = 0;
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;
};

// `emit` gets the text piece by piece, whole UTF-8 characters only. Throws Error where prompt and
// continuation do not fit into the decoder's longest sequence.
GenerateResult Generate(const Decoder& decoder, const Tokenizer& tokenizer, std::string_view prompt,
                        const GenerateOptions& options, const std::function<void(std::string_view)>& emit);

}  // namespace gptq
