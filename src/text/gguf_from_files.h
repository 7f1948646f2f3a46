// The vocabulary of a GGUF file from the tokenizer files of a Hugging Face folder: the reverse of export.h.
#pragma once

#include <cstdint>
#include <filesystem>

#include "text/gguf_vocabulary.h"

namespace gptq {

// `vocabulary`: rows of the embedding; ids without a token get an unused one. Throws Error for tokenizers
// that GGUF's kinds "gpt2" and "llama" cannot express, and where there are more tokens than rows.
GgufVocabulary GgufVocabularyFromFolder(const std::filesystem::path& folder, int64_t vocabulary);

}  // namespace gptq
