// Hugging Face tokenizer files from a GGUF file's vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/gguf_vocabulary.h"

namespace gptq {

struct TextFile {
  std::string name;
  std::string content;
};

// tokenizer.json, tokenizer_config.json and special_tokens_map.json, which give the same ids as
// TokenizerFromGguf. `model_max_length`: tokens, where known. Throws Error as TokenizerFromGguf does.
std::vector<TextFile> ExportTokenizer(const GgufVocabulary& vocabulary,
                                      std::optional<int64_t> model_max_length, std::string_view where);

}  // namespace gptq
