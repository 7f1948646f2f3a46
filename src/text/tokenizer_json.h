// Hugging Face's tokenizer.json.
#pragma once

#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/bpe_model.h"
#include "text/tokenizer.h"

namespace gptq {

// The parts of a tokenizer from a whole tokenizer.json. Beginning and end of sequence and the chat template
// are not in it. Throws Error naming `where` and whatever is unknown and would change ids.
TokenizerParts PartsFromTokenizerJson(const Json& file, std::string_view where);

// The same from pieces of one, for loaders of other formats: `pipeline` holds `normalizer`, `pre_tokenizer`,
// `post_processor` and `decoder` as a tokenizer.json does.
void ReadPipeline(const Json& pipeline, std::string_view where, TokenizerParts& parts);

// `post_processor`: what surrounds a single text.
TokenTemplate ParseTemplate(const Json& description, std::string_view where);

// One entry of `added_tokens` (or, with the id given apart, of tokenizer_config.json's added_tokens_decoder).
AddedToken ParseAddedToken(const Json& description, int32_t id, std::string_view where);

// `vocab`, {token: id}, as id -> token. Bounds the ids by the number of tokens.
std::vector<std::string> ParseVocabulary(const Json& vocabulary, std::string_view where);

}  // namespace gptq
