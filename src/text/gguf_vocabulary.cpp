#include "text/gguf_vocabulary.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/sentencepiece_pipeline.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

namespace gptq {
namespace {

bool IsSentencePiece(const GgufVocabulary& vocabulary) { return vocabulary.model == "llama"; }

void CheckLists(const GgufVocabulary& vocabulary, std::string_view where) {
  const auto refuse = [&](std::string_view what) {
    throw Error(what, where, "fetch the file again or use another one");
  };
  const size_t count = vocabulary.tokens.size();
  if (vocabulary.model != "gpt2" && vocabulary.model != "llama") {
    refuse(Concat("the tokenizer model '", vocabulary.model, "' is not supported ('gpt2' and 'llama' are)"));
  }
  if (count == 0 || count > std::numeric_limits<int32_t>::max() / 4)
    refuse(Concat("a vocabulary of ", count, " tokens"));
  if (!vocabulary.token_types.empty() && vocabulary.token_types.size() != count) {
    refuse(Concat(vocabulary.token_types.size(), " token types for ", count, " tokens"));
  }
  if (IsSentencePiece(vocabulary) && vocabulary.scores.size() != count) {
    refuse(Concat(vocabulary.scores.size(), " scores for ", count, " tokens"));
  }
  for (size_t i = 0; i < vocabulary.token_types.size(); ++i) {
    // 0 is "undefined"; some writers leave it for plain tokens.
    if (vocabulary.token_types[i] < 0 || vocabulary.token_types[i] > 6) {
      refuse(Concat("token ", i, " has the unknown type ", vocabulary.token_types[i]));
    }
  }
}

TokenKind KindOf(const GgufVocabulary& vocabulary, size_t id) {
  const int32_t type = vocabulary.token_types.empty() ? 0 : vocabulary.token_types[id];
  return type == 0 ? TokenKind::kNormal : static_cast<TokenKind>(type);
}

std::optional<int32_t> ValidId(std::optional<int64_t> id, const GgufVocabulary& vocabulary) {
  if (!id || *id < 0 || *id >= static_cast<int64_t>(vocabulary.tokens.size())) return std::nullopt;
  return static_cast<int32_t>(*id);
}

// The id that files of kind "llama" mean when they do not name it, if the token there can be it.
std::optional<int32_t> DefaultId(std::optional<int64_t> id, int32_t fallback, TokenKind kind,
                                 const GgufVocabulary& vocabulary, const std::vector<TokenKind>& kinds) {
  if (id || !IsSentencePiece(vocabulary)) return ValidId(id, vocabulary);
  const auto i = static_cast<size_t>(fallback);
  return i < kinds.size() && kinds[i] == kind ? std::optional(fallback) : std::nullopt;
}

SpecialTokens FindSpecialTokens(const GgufVocabulary& vocabulary, const std::vector<TokenKind>& kinds) {
  SpecialTokens special;
  special.bos = DefaultId(vocabulary.bos, 1, TokenKind::kControl, vocabulary, kinds);
  special.eos = DefaultId(vocabulary.eos, 2, TokenKind::kControl, vocabulary, kinds);
  special.unknown = DefaultId(vocabulary.unknown, 0, TokenKind::kUnknown, vocabulary, kinds);
  special.pad = ValidId(vocabulary.pad, vocabulary);
  if (special.eos) special.ends.push_back(*special.eos);
  const auto eot = ValidId(vocabulary.eot, vocabulary);
  if (eot && eot != special.eos) special.ends.push_back(*eot);
  return special;
}

// A TemplateProcessing post-processor, or null.
Json TemplateOf(const GgufVocabulary& vocabulary, std::optional<int32_t> before,
                std::optional<int32_t> after) {
  if (!before && !after) return Json();
  Json special_tokens = Json::object();
  const auto token = [&](int32_t id, int type) {
    const std::string text = ToValidUtf8(vocabulary.tokens[static_cast<size_t>(id)]);
    special_tokens[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
    return Json{{"SpecialToken", {{"id", text}, {"type_id", type}}}};
  };
  const auto parts = [&](const char* sequence, int type, Json& list) {
    if (before) list.push_back(token(*before, type));
    list.push_back({{"Sequence", {{"id", sequence}, {"type_id", type}}}});
    if (after) list.push_back(token(*after, type));
  };
  Json single = Json::array();
  Json pair = Json::array();
  parts("A", 0, single);
  parts("A", 0, pair);
  parts("B", 1, pair);
  return {
      {"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special_tokens}};
}

void PlanTokens(const GgufVocabulary& vocabulary, GgufTokenizerPlan& plan) {
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const TokenKind kind = KindOf(vocabulary, i);
    plan.kinds.push_back(kind);
    plan.in_model.push_back(kind == TokenKind::kNormal || kind == TokenKind::kUnused);
    const bool special = kind == TokenKind::kControl || kind == TokenKind::kUnknown;
    if (!special && kind != TokenKind::kUserDefined) continue;
    plan.added_tokens.push_back(
        {.id = static_cast<int32_t>(i), .content = ToValidUtf8(vocabulary.tokens[i]), .special = special});
  }
}

}  // namespace

GgufTokenizerPlan PlanGgufTokenizer(const GgufVocabulary& vocabulary, std::string_view where) {
  CheckLists(vocabulary, where);
  GgufTokenizerPlan plan;
  PlanTokens(vocabulary, plan);
  plan.special = FindSpecialTokens(vocabulary, plan.kinds);
  bool add_bos = true;
  if (IsSentencePiece(vocabulary)) {
    const SentencePieceSpaces spaces{.prefix = vocabulary.add_space_prefix.value_or(true),
                                     .remove_extra = vocabulary.remove_extra_spaces.value_or(false)};
    plan.pipeline = {{"normalizer", SentencePieceNormalizer(spaces, vocabulary.character_map)},
                     {"decoder", SentencePieceDecoder(spaces)}};
    plan.options = {.byte_fallback = true, .fuse_unknown = true, .unknown = plan.special.unknown};
  } else {
    const GgufPreTokenizer rule = FindGgufPreTokenizer(vocabulary.pre, vocabulary.architecture, where);
    const Json decoder = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
    plan.pipeline = {
        {"normalizer", rule.normalizer}, {"pre_tokenizer", rule.pre_tokenizer}, {"decoder", decoder}};
    plan.options.ignore_merges = rule.ignore_merges;
    add_bos = rule.add_bos;
  }
  const auto before = vocabulary.add_bos.value_or(add_bos) ? plan.special.bos : std::nullopt;
  const auto after = vocabulary.add_eos.value_or(false) ? plan.special.eos : std::nullopt;
  plan.pipeline["post_processor"] = TemplateOf(vocabulary, before, after);
  return plan;
}

std::pair<std::string, std::string> SplitMergeLine(std::string_view line, std::string_view where) {
  const size_t space = line.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == line.size()) {
    throw Error(Concat("the merge '", line, "' does not name two tokens"), where, "fetch the file again");
  }
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

Tokenizer TokenizerFromGguf(const GgufVocabulary& vocabulary, std::string_view where) {
  GgufTokenizerPlan plan = PlanGgufTokenizer(vocabulary, where);
  TokenizerParts parts;
  ReadPipeline(plan.pipeline, where, parts);
  std::vector<std::string> tokens;
  tokens.reserve(vocabulary.tokens.size());
  for (const std::string& token : vocabulary.tokens) tokens.push_back(ToValidUtf8(token));
  parts.vocabulary = std::make_unique<Vocabulary>(std::move(tokens), plan.in_model);
  if (IsSentencePiece(vocabulary)) {
    parts.model =
        std::make_unique<BpeModel>(*parts.vocabulary, vocabulary.scores, plan.kinds, plan.options, where);
  } else {
    MergeList merges;
    merges.reserve(vocabulary.merges.size());
    for (const std::string& merge : vocabulary.merges) merges.push_back(SplitMergeLine(merge, where));
    parts.model = std::make_unique<BpeModel>(*parts.vocabulary, merges, plan.options, where);
  }
  parts.added_tokens = std::move(plan.added_tokens);
  parts.special = std::move(plan.special);
  parts.chat_template = vocabulary.chat_template;
  return Tokenizer(std::move(parts), where);
}

}  // namespace gptq
