// The files beside a tokenizer that name its special tokens and its chat template.
#pragma once

#include <filesystem>

#include "text/tokenizer.h"

namespace gptq {

// Fills in from tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja,
// generation_config.json and config.json of the folder, as far as they are there.
void ReadTokenizerConfig(const std::filesystem::path& folder, TokenizerParts& parts);

// `tokenizer_class` of tokenizer_config.json without "Fast"; empty where it says nothing.
std::string TokenizerClass(const std::filesystem::path& folder);

}  // namespace gptq
