// Tokenizers on disk, as Hugging Face folders hold them.
#pragma once

#include <filesystem>
#include <optional>

#include "text/tokenizer.h"

namespace gptq {

// From a tokenizer.json or tokenizer.model, or from a folder with tokenizer.json, else tokenizer.model, else
// vocab.json and merges.txt; there tokenizer_config.json, special_tokens_map.json, chat_template.jinja,
// generation_config.json and config.json, where present, name the special tokens and the chat template.
// Throws Error naming the file.
Tokenizer LoadTokenizer(const std::filesystem::path& path);

// A folder holds one of the files above.
bool HasTokenizer(const std::filesystem::path& folder);

}  // namespace gptq
