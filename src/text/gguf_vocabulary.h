// The tokenizer of a GGUF file, handed over as plain lists (`tokenizer.ggml.*`).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/bpe_model.h"
#include "text/tokenizer.h"

namespace gptq {

struct GgufVocabulary {
  std::string model;  // tokenizer.ggml.model: "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE)
  std::string pre;    // tokenizer.ggml.pre, empty where absent
  std::vector<std::string> tokens;
  std::vector<float> scores;         // [tokens], or empty for "gpt2"
  std::vector<int32_t> token_types;  // [tokens], or empty: all normal
  std::vector<std::string> merges;   // "a b"; empty for "llama"
  // Ids outside the vocabulary (files write 4294967295 for none) count as absent.
  std::optional<int64_t> bos, eos, pad, unknown, separator, eot;
  std::optional<bool> add_bos, add_eos;
  // What SentencePiece does to text first. llama.cpp has these keys and obeys the last two for unigram models
  // only.
  std::optional<bool> add_space_prefix, remove_extra_spaces;
  std::string character_map;  // tokenizer.ggml.precompiled_charsmap, or empty
  std::optional<std::string> chat_template;
  std::string architecture;  // general.architecture; names the pre-tokenizer where `pre` does not
};

// `where` names the file in errors. Throws Error for lists that do not fit together, for kinds of models that
// are not supported, and where nothing says how text is pre-tokenized.
Tokenizer TokenizerFromGguf(const GgufVocabulary& vocabulary, std::string_view where);

// What loading and exporting have in common.
struct GgufTokenizerPlan {
  std::vector<TokenKind> kinds;  // [tokens]
  std::vector<bool> in_model;    // [tokens]: text is merged into it
  std::vector<AddedToken> added_tokens;
  Json pipeline;  // `normalizer`, `pre_tokenizer`, `post_processor`, `decoder` of a tokenizer.json
  BpeOptions options;
  SpecialTokens special;
};
GgufTokenizerPlan PlanGgufTokenizer(const GgufVocabulary& vocabulary, std::string_view where);

// A merge line, cut at its first space that is not its first character.
std::pair<std::string, std::string> SplitMergeLine(std::string_view line, std::string_view where);

}  // namespace gptq
