// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/subword_model.h"
#include "text/vocabulary.h"

namespace gptq {

// What surrounds a text, as the tokenizer's own template says.
struct TokenTemplate {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
};

struct SpecialTokens {
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<int32_t> pad;
  std::optional<int32_t> unknown;
  // Every token at which generation stops, `eos` among them.
  std::vector<int32_t> ends;
};

// The parts that a loader finds in its files.
struct TokenizerParts {
  std::unique_ptr<Vocabulary> vocabulary;  // owned apart, as the model refers to it
  std::unique_ptr<SubwordModel> model;
  std::vector<AddedToken> added_tokens;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  TokenDecoder decoder;
  TokenTemplate token_template;
  SpecialTokens special;
  std::optional<std::string> chat_template;
};

// How strings of special tokens in a text are read.
enum class SpecialText { kRecognize, kPlain };

// Immutable; may be used by many threads at once. Made by the loaders of tokenizer_files.h and
// gguf_vocabulary.h.
class Tokenizer {
 public:
  // Throws Error naming `where` if ids of added or special tokens do not fit the vocabulary.
  Tokenizer(TokenizerParts parts, std::string_view where);

  // The tokens of the text alone. Ill-formed UTF-8 is read as U+FFFD. O(n log n).
  std::vector<int32_t> Encode(std::string_view text, SpecialText special = SpecialText::kRecognize) const;
  // ... and what the tokenizer's template puts before and behind it (BOS, EOS).
  std::vector<int32_t> EncodeWithSpecialTokens(std::string_view text,
                                               SpecialText special = SpecialText::kRecognize) const;
  const std::vector<int32_t>& TemplateBefore() const { return parts_.token_template.before; }
  const std::vector<int32_t>& TemplateAfter() const { return parts_.token_template.after; }

  // The text of the tokens; ill-formed UTF-8 becomes U+FFFD. Throws Error for an id outside the vocabulary.
  std::string Decode(std::span<const int32_t> ids, bool show_special = true) const;

  // Ids are 0 .. VocabularySize() - 1, added tokens included; some may be without a token.
  int32_t VocabularySize() const { return static_cast<int32_t>(tokens_.size()); }
  bool HasToken(int32_t id) const;
  // As the vocabulary writes it (byte letters, ▁ for spaces); empty where there is none.
  const std::string& TokenText(int32_t id) const;
  std::optional<int32_t> FindToken(std::string_view text) const;
  bool IsSpecial(int32_t id) const;
  bool IsAdded(int32_t id) const;  // special or otherwise recognised as a whole

  std::optional<int32_t> bos() const { return parts_.special.bos; }
  std::optional<int32_t> eos() const { return parts_.special.eos; }
  std::optional<int32_t> pad() const { return parts_.special.pad; }
  std::optional<int32_t> unknown() const { return parts_.special.unknown; }
  // Tokens at which generation stops.
  const std::vector<int32_t>& ends() const { return parts_.special.ends; }
  bool IsEnd(int32_t id) const;
  // Jinja source.
  const std::optional<std::string>& chat_template() const { return parts_.chat_template; }

 private:
  friend class StreamingDecoder;
  void EncodeText(std::string_view text, bool at_start, bool with_special, WordCache& cache,
                  std::vector<int32_t>& ids) const;
  void CheckIds(std::string_view where) const;

  enum class Kind : uint8_t { kNone, kModel, kAdded, kSpecial };
  TokenizerParts parts_;
  std::vector<std::string> tokens_;  // model and added tokens by id
  std::vector<Kind> kinds_;
  AddedTokenMatcher in_raw_text_;
  AddedTokenMatcher in_normalized_text_;
};

// Decodes tokens as they come and never cuts a character: bytes that do not finish one wait for the next
// token. The tokenizer must outlive it. Ids outside the vocabulary (models may have more rows than tokens)
// add nothing.
class StreamingDecoder {
 public:
  // `continues`: the tokens go on a text, so that a space at their start is kept.
  explicit StreamingDecoder(const Tokenizer& tokenizer, bool show_special = true, bool continues = false);

  // The text that this token completes.
  std::string Next(int32_t id);
  // What is left: U+FFFD for a character that stayed unfinished.
  std::string Finish();

 private:
  void Append(std::string_view bytes);

  const Tokenizer& tokenizer_;
  bool show_special_;
  bool first_;         // no token so far
  size_t strip_left_;  // characters still to be taken from the start
  std::string pending_;
};

}  // namespace gptq
