// SentencePiece's tokenizer.model: a protocol buffer (sentencepiece_model.proto), of which BPE and unigram
// models are understood.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_model.h"
#include "text/tokenizer.h"

namespace gptq {

inline constexpr int32_t kSentencePieceUnigram = 1, kSentencePieceBpe = 2;  // model types

struct SentencePieceModel {
  std::vector<std::string> pieces;
  std::vector<float> scores;     // [pieces]
  std::vector<TokenKind> kinds;  // [pieces]
  int32_t model_type = kSentencePieceUnigram;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::string character_map;  // precompiled (character_map.h), or empty
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  std::optional<int32_t> unknown = 0, bos = 1, eos = 2, pad;
};

// Throws Error naming `where` for a damaged file.
SentencePieceModel ParseSentencePieceModel(std::string_view bytes, std::string_view where);

// Throws Error for a kind of model that is not supported. The template adds BOS where the model has one.
TokenizerParts PartsFromSentencePiece(SentencePieceModel model, std::string_view where);

}  // namespace gptq
