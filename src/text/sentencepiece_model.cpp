#include "text/sentencepiece_model.h"

#include <bit>
#include <utility>

#include "base/error.h"
#include "text/protobuf.h"
#include "text/sentencepiece_pipeline.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"
#include "text/unigram_model.h"

namespace gptq {
namespace {

using Wire = ProtobufField::Wire;

[[noreturn]] void Damaged(std::string_view what, std::string_view where) {
  throw Error(what, where, "fetch the file again");
}

void ParsePiece(std::string_view bytes, std::string_view where, SentencePieceModel& model) {
  std::string text;
  float score = 0;
  uint64_t kind = static_cast<uint64_t>(TokenKind::kNormal);
  ProtobufReader reader(bytes, where);
  while (const auto field = reader.Next()) {
    if (field->number == 1 && field->wire == Wire::kBytes) text = field->bytes;
    if (field->number == 2 && field->wire == Wire::kFixed32)
      score = std::bit_cast<float>(static_cast<uint32_t>(field->value));
    if (field->number == 3 && field->wire == Wire::kVarint) kind = field->value;
  }
  if (kind < 1 || kind > 6)
    Damaged(Concat("piece ", model.pieces.size(), " is of the unknown kind ", kind), where);
  if (!IsValidUtf8(text)) Damaged(Concat("piece ", model.pieces.size(), " is not UTF-8"), where);
  model.pieces.push_back(std::move(text));
  model.scores.push_back(score);
  model.kinds.push_back(static_cast<TokenKind>(kind));
}

// Ids are written as int32, -1 for none.
std::optional<int32_t> OptionalId(uint64_t value) {
  const auto id = static_cast<int64_t>(value);
  return id < 0 || id > INT32_MAX ? std::nullopt : std::optional(static_cast<int32_t>(id));
}

void ParseTrainerSpec(std::string_view bytes, std::string_view where, SentencePieceModel& model) {
  ProtobufReader reader(bytes, where);
  while (const auto field = reader.Next()) {
    if (field->wire != Wire::kVarint) continue;
    switch (field->number) {
      case 3:
        model.model_type = static_cast<int32_t>(field->value & 0xFF);
        break;
      case 24:
        model.whitespace_as_suffix = field->value != 0;
        break;
      case 35:
        model.byte_fallback = field->value != 0;
        break;
      case 40:
        model.unknown = OptionalId(field->value);
        break;
      case 41:
        model.bos = OptionalId(field->value);
        break;
      case 42:
        model.eos = OptionalId(field->value);
        break;
      case 43:
        model.pad = OptionalId(field->value);
        break;
      default:
        break;
    }
  }
}

void ParseNormalizerSpec(std::string_view bytes, std::string_view where, SentencePieceModel& model) {
  ProtobufReader reader(bytes, where);
  while (const auto field = reader.Next()) {
    if (field->number == 2 && field->wire == Wire::kBytes) model.character_map = field->bytes;
    if (field->wire != Wire::kVarint) continue;
    if (field->number == 3) model.add_dummy_prefix = field->value != 0;
    if (field->number == 4) model.remove_extra_whitespaces = field->value != 0;
    if (field->number == 5) model.escape_whitespaces = field->value != 0;
  }
}

void Require(bool supported, std::string_view what, std::string_view where) {
  if (supported) return;
  throw Error(Concat("a SentencePiece model with ", what, " is not supported"), where,
              "use the model's tokenizer.json if it has one");
}

}  // namespace

SentencePieceModel ParseSentencePieceModel(std::string_view bytes, std::string_view where) {
  SentencePieceModel model;
  ProtobufReader reader(bytes, where);
  while (const auto field = reader.Next()) {
    if (field->wire != Wire::kBytes) continue;
    if (field->number == 1) ParsePiece(field->bytes, where, model);
    if (field->number == 2) ParseTrainerSpec(field->bytes, where, model);
    if (field->number == 3) ParseNormalizerSpec(field->bytes, where, model);
  }
  if (model.pieces.empty()) Damaged("a SentencePiece model without pieces", where);
  for (std::optional<int32_t>* id : {&model.unknown, &model.bos, &model.eos, &model.pad}) {
    if (*id && static_cast<size_t>(**id) >= model.pieces.size()) *id = std::nullopt;
  }
  return model;
}

TokenizerParts PartsFromSentencePiece(SentencePieceModel model, std::string_view where) {
  const bool unigram = model.model_type == kSentencePieceUnigram;
  Require(unigram || model.model_type == kSentencePieceBpe, "a vocabulary of whole words or characters",
          where);
  Require(model.escape_whitespaces, "unescaped spaces", where);
  Require(!model.whitespace_as_suffix, "spaces as suffixes", where);
  const SentencePieceSpaces spaces{model.add_dummy_prefix, model.remove_extra_whitespaces};
  TokenizerParts parts;
  ReadPipeline({{"normalizer", SentencePieceNormalizer(spaces, model.character_map)},
                {"decoder", SentencePieceDecoder(spaces)}},
               where, parts);
  std::vector<bool> in_model;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const TokenKind kind = model.kinds[i];
    in_model.push_back(kind == TokenKind::kNormal || kind == TokenKind::kUserDefined ||
                       (kind == TokenKind::kUnused && !unigram));
    const bool special = kind == TokenKind::kControl || kind == TokenKind::kUnknown;
    if (!special && kind != TokenKind::kUserDefined) continue;
    // User-defined pieces are found in the normalized text, where spaces are ▁ already.
    parts.added_tokens.push_back({.id = static_cast<int32_t>(i),
                                  .content = model.pieces[i],
                                  .special = special,
                                  .normalized = !special,
                                  .sought = special ? "" : model.pieces[i]});
  }
  parts.vocabulary = std::make_unique<Vocabulary>(std::move(model.pieces), in_model);
  if (unigram) {
    parts.model = std::make_unique<UnigramModel>(
        *parts.vocabulary, std::vector<double>(model.scores.begin(), model.scores.end()),
        UnigramOptions{.byte_fallback = model.byte_fallback, .unknown = model.unknown}, where);
  } else {
    const BpeOptions options{
        .byte_fallback = model.byte_fallback, .fuse_unknown = true, .unknown = model.unknown};
    parts.model = std::make_unique<BpeModel>(*parts.vocabulary, model.scores, model.kinds, options, where);
  }
  parts.special = {model.bos, model.eos, model.pad, model.unknown, {}};
  if (model.eos) parts.special.ends.push_back(*model.eos);
  if (model.bos) parts.token_template.before.push_back(*model.bos);
  return parts;
}

}  // namespace gptq
