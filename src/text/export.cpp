#include "text/export.h"

#include <algorithm>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace gptq {
namespace {

// The vocabulary's tokens as strings that JSON can hold.
std::vector<std::string> ValidTokens(const GgufVocabulary& vocabulary) {
  std::vector<std::string> tokens;
  tokens.reserve(vocabulary.tokens.size());
  for (const std::string& token : vocabulary.tokens) tokens.push_back(ToValidUtf8(token));
  return tokens;
}

// Written by hand, in the order of the ids: a JSON object would sort the tokens.
std::string VocabularyJson(const std::vector<std::string>& tokens) {
  std::string text = "{";
  std::unordered_set<std::string_view> written;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!written.insert(tokens[id]).second) continue;  // the first of equal tokens is the one that text gives
    text += Concat(text.size() > 1 ? "," : "", "\n      ", Dump(Json(tokens[id])), ": ", id);
  }
  return text + "\n    }";
}

// SentencePiece has scores instead of merges: every way to join two tokens to a third, ordered by the third's
// score.
MergeList MergesFromScores(const GgufVocabulary& vocabulary, const std::vector<std::string>& tokens,
                           const std::vector<TokenKind>& kinds) {
  std::vector<bool> plain;
  for (const TokenKind kind : kinds) plain.push_back(kind == TokenKind::kNormal);
  const Vocabulary lookup(tokens, plain);
  std::vector<size_t> order(tokens.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return vocabulary.scores[a] > vocabulary.scores[b]; });
  MergeList merges;
  for (const size_t id : order) {
    const std::string_view text = tokens[id];
    if (!plain[id] || text.empty()) continue;
    for (size_t cut = CharacterSize(text, 0); cut < text.size(); cut += CharacterSize(text, cut)) {
      if (lookup.Find(text.substr(0, cut)) && lookup.Find(text.substr(cut))) {
        merges.emplace_back(text.substr(0, cut), text.substr(cut));
      }
    }
  }
  return merges;
}

std::string MergesJson(const MergeList& merges) {
  std::string text = "[";
  for (const auto& [left, right] : merges) {
    text += Concat(text.size() > 1 ? "," : "", "\n      ", Dump(Json::array({left, right})));
  }
  return text + "\n    ]";
}

Json AddedTokensJson(const std::vector<AddedToken>& tokens) {
  Json list = Json::array();
  for (const AddedToken& token : tokens) {
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  }
  return list;
}

MergeList MergesOf(const GgufVocabulary& vocabulary, const std::vector<std::string>& tokens,
                   const GgufTokenizerPlan& plan, std::string_view where) {
  if (vocabulary.model == "llama") return MergesFromScores(vocabulary, tokens, plan.kinds);
  MergeList merges;
  for (const std::string& line : vocabulary.merges)
    merges.push_back(SplitMergeLine(ToValidUtf8(line), where));
  return merges;
}

std::string TokenizerJson(const GgufVocabulary& vocabulary, const GgufTokenizerPlan& plan,
                          std::string_view where) {
  const std::vector<std::string> tokens = ValidTokens(vocabulary);
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  const auto part = [&](const char* key) {
    return Concat("  \"", key, "\": ", Dump(plan.pipeline.value(key, Json())), ",\n");
  };
  const Json unknown =
      plan.options.unknown ? Json(tokens[static_cast<size_t>(*plan.options.unknown)]) : Json();
  return Concat(
      "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": ",
      Dump(AddedTokensJson(plan.added_tokens)), ",\n", part("normalizer"), part("pre_tokenizer"),
      part("post_processor"), part("decoder"),
      "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n",
      "    \"unk_token\": ", Dump(unknown), ",\n    \"continuing_subword_prefix\": null,\n",
      "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": ", flag(plan.options.fuse_unknown),
      ",\n    \"byte_fallback\": ", flag(plan.options.byte_fallback),
      ",\n    \"ignore_merges\": ", flag(plan.options.ignore_merges),
      ",\n    \"vocab\": ", VocabularyJson(tokens),
      ",\n    \"merges\": ", MergesJson(MergesOf(vocabulary, tokens, plan, where)), "\n  }\n}\n");
}

// {"bos_token": "<s>", ...}
Json NamedTokens(const GgufVocabulary& vocabulary, const SpecialTokens& special) {
  Json names = Json::object();
  const auto add = [&](const char* key, std::optional<int32_t> id) {
    if (id) names[key] = ToValidUtf8(vocabulary.tokens[static_cast<size_t>(*id)]);
  };
  add("bos_token", special.bos);
  add("eos_token", special.eos);
  add("unk_token", special.unknown);
  add("pad_token", special.pad);
  return names;
}

Json TokenizerConfig(const GgufVocabulary& vocabulary, const SpecialTokens& special,
                     std::optional<int64_t> model_max_length) {
  Json config = NamedTokens(vocabulary, special);
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["clean_up_tokenization_spaces"] = false;
  if (model_max_length) config["model_max_length"] = *model_max_length;
  if (vocabulary.chat_template) config["chat_template"] = *vocabulary.chat_template;
  return config;
}

}  // namespace

std::vector<TextFile> ExportTokenizer(const GgufVocabulary& vocabulary,
                                      std::optional<int64_t> model_max_length, std::string_view where) {
  const GgufTokenizerPlan plan = PlanGgufTokenizer(vocabulary, where);
  return {
      {"tokenizer.json", TokenizerJson(vocabulary, plan, where)},
      {"tokenizer_config.json", Dump(TokenizerConfig(vocabulary, plan.special, model_max_length), 2) + "\n"},
      {"special_tokens_map.json", Dump(NamedTokens(vocabulary, plan.special), 2) + "\n"}};
}

}  // namespace gptq
