#include "text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace gptq {
namespace {

AddedTokenMatcher MatcherOf(const std::vector<AddedToken>& tokens, bool normalized,
                            const Normalizer& normalizer) {
  std::vector<AddedToken> chosen;
  for (const AddedToken& token : tokens) {
    if (token.normalized != normalized) continue;
    chosen.push_back(token);
    if (normalized)
      chosen.back().content = token.sought.empty() ? normalizer.Apply(token.content) : token.sought;
  }
  return AddedTokenMatcher(std::move(chosen));
}

}  // namespace

Tokenizer::Tokenizer(TokenizerParts parts, std::string_view where) : parts_(std::move(parts)) {
  const Vocabulary& vocabulary = *parts_.vocabulary;
  int32_t size = vocabulary.size();
  // Ids far beyond the vocabulary would make the tables below huge.
  const int64_t most =
      int64_t{vocabulary.size()} * 2 + static_cast<int64_t>(parts_.added_tokens.size()) + 100'000;
  for (const AddedToken& token : parts_.added_tokens) {
    if (token.id < 0 || token.id >= most) {
      throw Error(Concat("the added token '", token.content, "' has the id ", token.id,
                         ", far outside the vocabulary of ", vocabulary.size()),
                  where, "correct the file or fetch it again");
    }
    size = std::max(size, token.id + 1);
  }
  tokens_.resize(static_cast<size_t>(size));
  kinds_.resize(static_cast<size_t>(size), Kind::kNone);
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const auto i = static_cast<size_t>(id);
    tokens_[i] = vocabulary.Text(id);
    if (!tokens_[i].empty()) kinds_[i] = Kind::kModel;
  }
  for (const AddedToken& token : parts_.added_tokens) {
    const auto i = static_cast<size_t>(token.id);
    tokens_[i] = token.content;
    kinds_[i] = token.special ? Kind::kSpecial : Kind::kAdded;
  }
  CheckIds(where);
  in_raw_text_ = MatcherOf(parts_.added_tokens, false, parts_.normalizer);
  in_normalized_text_ = MatcherOf(parts_.added_tokens, true, parts_.normalizer);
}

void Tokenizer::CheckIds(std::string_view where) const {
  const auto check = [&](int32_t id, std::string_view what) {
    if (id >= 0 && id < VocabularySize()) return;
    throw Error(
        Concat("the ", what, " token has the id ", id, ", the vocabulary has ", VocabularySize(), " tokens"),
        where, "correct the file or fetch it again");
  };
  for (const int32_t id : parts_.token_template.before) check(id, "template's");
  for (const int32_t id : parts_.token_template.after) check(id, "template's");
  const SpecialTokens& special = parts_.special;
  if (special.bos) check(*special.bos, "beginning-of-sequence");
  if (special.eos) check(*special.eos, "end-of-sequence");
  if (special.pad) check(*special.pad, "padding");
  if (special.unknown) check(*special.unknown, "unknown");
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, SpecialText special) const {
  std::string repaired;
  if (!IsValidUtf8(text)) {
    repaired = ToValidUtf8(text);
    text = repaired;
  }
  const bool with_special = special == SpecialText::kRecognize;
  std::vector<int32_t> ids;
  WordCache cache;
  for (const Segment& segment : in_raw_text_.Split(text, with_special)) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
    } else {
      EncodeText(segment.text, segment.text.data() == text.data(), with_special, cache, ids);
    }
  }
  return ids;
}

void Tokenizer::EncodeText(std::string_view text, bool at_start, bool with_special, WordCache& cache,
                           std::vector<int32_t>& ids) const {
  const std::string normalized = parts_.normalizer.Apply(text);
  for (const Segment& segment : in_normalized_text_.Split(normalized, with_special)) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
      continue;
    }
    const bool starts = at_start && segment.text.data() == normalized.data();
    const PieceList pieces = parts_.pre_tokenizer.Apply(segment.text, starts);
    for (size_t i = 0; i < pieces.size(); ++i) parts_.model->Encode(pieces[i], cache, ids);
  }
}

std::vector<int32_t> Tokenizer::EncodeWithSpecialTokens(std::string_view text, SpecialText special) const {
  std::vector<int32_t> ids = TemplateBefore();
  const std::vector<int32_t> inner = Encode(text, special);
  ids.insert(ids.end(), inner.begin(), inner.end());
  ids.insert(ids.end(), TemplateAfter().begin(), TemplateAfter().end());
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool show_special) const {
  StreamingDecoder decoder(*this, show_special);
  std::string text;
  for (const int32_t id : ids) {
    if (id < 0 || id >= VocabularySize()) {
      throw Error(Concat("token id ", id, " is outside the vocabulary of ", VocabularySize(), " tokens"),
                  "token ids", "give ids of this model");
    }
    text += decoder.Next(id);
  }
  return text + decoder.Finish();
}

bool Tokenizer::HasToken(int32_t id) const {
  return id >= 0 && id < VocabularySize() && kinds_[static_cast<size_t>(id)] != Kind::kNone;
}

const std::string& Tokenizer::TokenText(int32_t id) const {
  CHECK(id >= 0 && id < VocabularySize());
  return tokens_[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::FindToken(std::string_view text) const {
  for (const AddedToken& token : parts_.added_tokens) {
    if (token.content == text) return token.id;
  }
  return parts_.vocabulary->Find(text);
}

bool Tokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < VocabularySize() && kinds_[static_cast<size_t>(id)] == Kind::kSpecial;
}

bool Tokenizer::IsAdded(int32_t id) const {
  if (id < 0 || id >= VocabularySize()) return false;
  const Kind kind = kinds_[static_cast<size_t>(id)];
  return kind == Kind::kAdded || kind == Kind::kSpecial;
}

bool Tokenizer::IsEnd(int32_t id) const {
  return std::find(ends().begin(), ends().end(), id) != ends().end();
}

StreamingDecoder::StreamingDecoder(const Tokenizer& tokenizer, bool show_special, bool continues)
    : tokenizer_(tokenizer),
      show_special_(show_special),
      first_(!continues),
      strip_left_(continues ? 0 : tokenizer.parts_.decoder.stripped().second) {}

std::string StreamingDecoder::Next(int32_t id) {
  using Kind = Tokenizer::Kind;
  if (!tokenizer_.HasToken(id)) return "";
  const Kind kind = tokenizer_.kinds_[static_cast<size_t>(id)];
  if (kind == Kind::kSpecial && !show_special_) return "";
  const TokenDecoder::Kind decoded_as = kind == Kind::kSpecial ? TokenDecoder::Kind::kSpecial
                                        : kind == Kind::kAdded ? TokenDecoder::Kind::kAdded
                                                               : TokenDecoder::Kind::kModel;
  Append(tokenizer_.parts_.decoder.Bytes(tokenizer_.TokenText(id), decoded_as, first_));
  first_ = false;
  const size_t complete = pending_.size() - IncompleteTail(pending_);
  std::string text = ToValidUtf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return text;
}

void StreamingDecoder::Append(std::string_view bytes) {
  while (strip_left_ > 0 && !bytes.empty()) {
    if (bytes[0] != tokenizer_.parts_.decoder.stripped().first) {
      strip_left_ = 0;
      break;
    }
    bytes.remove_prefix(1);
    --strip_left_;
  }
  pending_ += bytes;
}

std::string StreamingDecoder::Finish() {
  std::string text = ToValidUtf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace gptq
