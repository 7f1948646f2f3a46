// Tokenizers on disk, as Hugging Face folders hold them.
#pragma once

#include <filesystem>
#include <optional>

#include "text/gguf_pre_tokenizers.h"
#include "text/tokenizer.h"

namespace gptq {

// From a tokenizer.json or tokenizer.model, or from a folder with tokenizer.json, else tokenizer.model, else
// vocab.json and merges.txt; there tokenizer_config.json, special_tokens_map.json, chat_template.jinja,
// generation_config.json and config.json, where present, name the special tokens and the chat template.
// Throws Error naming the file.
Tokenizer LoadTokenizer(const std::filesystem::path& path);

// A regular file lies at the path.
bool HasFile(const std::filesystem::path& path);

// A folder holds one of the files above.
bool HasTokenizer(const std::filesystem::path& folder);

// How the class that reads a folder of vocab.json and merges.txt without a tokenizer.json cuts text. Throws
// Error for a class that is not known.
GgufPreTokenizer PreTokenizerOfClass(const std::filesystem::path& folder);

}  // namespace gptq
