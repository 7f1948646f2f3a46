// SentencePiece's way with spaces, in the words of a tokenizer.json, so that its models and GGUF files of
// kind "llama" run, and are exported, as Hugging Face lays them out.
#pragma once

#include <string_view>

#include "base/json.h"

namespace gptq {

inline constexpr const char* kSentencePieceSpace = "\u2581";

struct SentencePieceSpaces {
  bool prefix = true;         // one space before every text
  bool remove_extra = false;  // none at the ends, no two in a row (spaces only, before the prefix)
};

// `normalizer` and `decoder`.
// `character_map`: bytes of a precompiled one, or empty.
Json SentencePieceNormalizer(const SentencePieceSpaces& spaces, std::string_view character_map = {});
Json SentencePieceDecoder(const SentencePieceSpaces& spaces);

}  // namespace gptq
