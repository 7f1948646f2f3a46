// How text is pre-tokenized for each value of tokenizer.ggml.pre.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace gptq {

// In the words of a tokenizer.json; where the model's own tokenizer normalizes, so does this, though GGUF
// does not say it.
struct GgufPreTokenizer {
  Json normalizer;
  Json pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

// `pre` absent, unknown or "default": taken from the architecture where that has only one; else throws Error.
GgufPreTokenizer FindGgufPreTokenizer(std::string_view pre, std::string_view architecture,
                                      std::string_view where);

// The name of a rule (tokenizer.ggml.pre) that cuts text as these parts of a tokenizer.json do; nothing where
// no rule does. A normalizer that GGUF does not know is passed over where the pre-tokenizer is known.
std::optional<std::string> GgufPreTokenizerName(const Json& normalizer, const Json& pre_tokenizer);

}  // namespace gptq
