// How text is pre-tokenized for each value of tokenizer.ggml.pre.
#pragma once

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

}  // namespace gptq
