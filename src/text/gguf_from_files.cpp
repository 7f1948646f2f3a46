#include "text/gguf_from_files.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "text/character_map.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/json_fields.h"
#include "text/sentencepiece_model.h"
#include "text/sentencepiece_pipeline.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_json.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

constexpr auto Number = [](TokenKind kind) { return static_cast<int32_t>(kind); };

void FromSentencePiece(const fs::path& path, GgufVocabulary& vocabulary) {
  const SentencePieceModel model = ParseSentencePieceModel(ReadTextFile(path), path.string());
  if (model.model_type != kSentencePieceBpe) {
    throw Error("only SentencePiece models of kind BPE have a GGUF form", path.string(),
                "write another format");
  }
  vocabulary.model = "llama";
  vocabulary.tokens = model.pieces;
  vocabulary.scores = model.scores;
  for (const TokenKind kind : model.kinds) vocabulary.token_types.push_back(Number(kind));
  vocabulary.add_space_prefix = model.add_dummy_prefix;
  vocabulary.remove_extra_spaces = model.remove_extra_whitespaces;
  vocabulary.character_map = model.character_map;
}

bool IsByteToken(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.back() == '>';
}

// "a b" or ["a", "b"].
std::pair<std::string, std::string> ParseMerge(const Json& merge, std::string_view where) {
  if (merge.is_string()) return SplitMergeLine(merge.get<std::string>(), where);
  if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string())
    WrongType("merges", "a list of pairs of tokens", where);
  return {merge[0].get<std::string>(), merge[1].get<std::string>()};
}

// SentencePiece joins the pair whose joined token has the highest score: minus the rank of the first merge
// that gives it.
std::vector<float> ScoresFromMerges(const std::vector<std::string>& tokens, const Json& merges,
                                    std::string_view where) {
  std::unordered_map<std::string, float> score;
  float rank = 0;
  for (const Json& merge : merges) {
    const auto [left, right] = ParseMerge(merge, where);
    score.emplace(left + right, -rank);
    ++rank;
  }
  std::vector<float> scores;
  for (const std::string& token : tokens) {
    const auto found = score.find(token);
    scores.push_back(found != score.end() ? found->second : -rank - 1);
  }
  return scores;
}

[[noreturn]] void RefuseRule(std::string_view verb, std::string_view where) {
  throw Error(Concat("GGUF has no name for the way that this tokenizer ", verb, " text"), where,
              "write another format, or add the rule to the program");
}

// What a tokenizer.json of SentencePiece's kind does to text first, in the words that GGUF has for it.
void ReadNormalizer(const Json& step, std::string_view where, GgufVocabulary& vocabulary) {
  if (step.is_null()) return;
  const std::string type = RequiredString(step, "type", where);
  if (type == "Sequence") {
    for (const Json& part : RequiredArray(step, "normalizers", where))
      ReadNormalizer(part, where, vocabulary);
  } else if (type == "Precompiled") {
    vocabulary.character_map = DecodeBase64(RequiredString(step, "precompiled_charsmap", where), where);
  } else {
    const auto belongs_to = [&](const SentencePieceSpaces& spaces) {
      const Json steps = SentencePieceNormalizer(spaces).at("normalizers");
      return std::ranges::count(steps, step) > 0;
    };
    if (belongs_to({.prefix = false, .remove_extra = false})) return;  // what all have
    if (belongs_to({.prefix = true, .remove_extra = false})) {
      vocabulary.add_space_prefix = true;
    } else if (belongs_to({.prefix = false, .remove_extra = true})) {
      vocabulary.remove_extra_spaces = true;
    } else {
      RefuseRule("normalizes", where);
    }
  }
}

void ReadSpaces(const Json& file, std::string_view where, GgufVocabulary& vocabulary) {
  vocabulary.add_space_prefix = vocabulary.remove_extra_spaces = false;
  vocabulary.character_map.clear();
  ReadNormalizer(file.value("normalizer", Json()), where, vocabulary);
  const std::string cut = Dump(file.value("pre_tokenizer", Json()));
  for (const char* prefix :
       {R"("prepend_scheme":"first")", R"("prepend_scheme":"always")", R"("add_prefix_space":true)"}) {
    if (cut.find(prefix) != std::string::npos) vocabulary.add_space_prefix = true;
  }
}

void FromTokenizerJson(const Json& file, std::string_view where, GgufVocabulary& vocabulary) {
  const Json& model = RequiredField(file, "model", where);
  vocabulary.tokens = ParseVocabulary(RequiredField(model, "vocab", where), where);
  const Json& merges = RequiredArray(model, "merges", where);
  vocabulary.token_types.assign(vocabulary.tokens.size(), Number(TokenKind::kNormal));
  if (FindBool(model, "byte_fallback", where).value_or(false)) {
    vocabulary.model = "llama";
    vocabulary.scores = ScoresFromMerges(vocabulary.tokens, merges, where);
    ReadSpaces(file, where, vocabulary);
    for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      if (IsByteToken(vocabulary.tokens[i])) vocabulary.token_types[i] = Number(TokenKind::kByte);
    }
    return;
  }
  vocabulary.model = "gpt2";
  const std::optional<std::string> pre =
      GgufPreTokenizerName(file.value("normalizer", Json()), file.value("pre_tokenizer", Json()));
  if (!pre) RefuseRule("cuts", where);
  vocabulary.pre = *pre;
  for (const Json& merge : merges) {
    const auto [left, right] = ParseMerge(merge, where);
    vocabulary.merges.push_back(left + " " + right);
  }
}

// GPT-2's slow files, in the words of a tokenizer.json.
Json FromVocabularyAndMerges(const fs::path& folder) {
  Json merges = Json::array();
  const std::string text = ReadTextFile(folder / "merges.txt");
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(line);
  }
  const GgufPreTokenizer rule = PreTokenizerOfClass(folder);
  return {{"normalizer", rule.normalizer},
          {"pre_tokenizer", rule.pre_tokenizer},
          {"model", {{"vocab", ReadJsonFile(folder / "vocab.json")}, {"merges", merges}}}};
}

// Added tokens, special ones and ids without a token, as the tokenizer as a whole has them.
void AddTokens(const Tokenizer& tokenizer, int64_t size, const fs::path& folder, GgufVocabulary& vocabulary) {
  const auto own = static_cast<int32_t>(vocabulary.tokens.size());
  if (std::max<int64_t>(tokenizer.VocabularySize(), own) > size) {
    throw Error(Concat("the tokenizer has ", tokenizer.VocabularySize(), " tokens, the embedding ", size),
                folder.string(), "config.json and tokenizer do not belong together");
  }
  const bool sentencepiece = vocabulary.model == "llama";
  for (int32_t id = 0; id < size; ++id) {
    if (id >= own) {
      vocabulary.tokens.emplace_back();
      vocabulary.token_types.push_back(Number(TokenKind::kNormal));
      if (sentencepiece) vocabulary.scores.push_back(-1e4f);
    }
    std::string& token = vocabulary.tokens[static_cast<size_t>(id)];
    int32_t& kind = vocabulary.token_types[static_cast<size_t>(id)];
    const bool has = id < tokenizer.VocabularySize() && tokenizer.HasToken(id);
    if (!has && token.empty()) {
      token = Concat("[PAD", id, "]");
      kind = Number(TokenKind::kUnused);
    } else if (has) {
      token = tokenizer.TokenText(id);
      const bool marked = kind != Number(TokenKind::kNormal) && kind != Number(TokenKind::kUserDefined);
      if (!marked && tokenizer.IsSpecial(id)) {
        const bool unknown = sentencepiece && id == tokenizer.unknown();
        kind = Number(unknown ? TokenKind::kUnknown : TokenKind::kControl);
      } else if (!marked && tokenizer.IsAdded(id)) {
        kind = Number(TokenKind::kUserDefined);
      }
    }
  }
}

void NameSpecialTokens(const Tokenizer& tokenizer, GgufVocabulary& vocabulary) {
  vocabulary.bos = tokenizer.bos();
  vocabulary.eos = tokenizer.eos();
  vocabulary.pad = tokenizer.pad();
  vocabulary.unknown = tokenizer.unknown();
  for (const int32_t end : tokenizer.ends()) {
    if (end != vocabulary.eos && !vocabulary.eot) vocabulary.eot = end;
  }
  const auto holds = [](const std::vector<int32_t>& ids, std::optional<int32_t> id) {
    return id && std::find(ids.begin(), ids.end(), *id) != ids.end();
  };
  vocabulary.add_bos = holds(tokenizer.TemplateBefore(), tokenizer.bos());
  vocabulary.add_eos = holds(tokenizer.TemplateAfter(), tokenizer.eos());
  vocabulary.chat_template = tokenizer.chat_template();
}

}  // namespace

GgufVocabulary GgufVocabularyFromFolder(const fs::path& folder, int64_t size) {
  const Tokenizer tokenizer = LoadTokenizer(folder);
  GgufVocabulary vocabulary;
  const fs::path json = folder / "tokenizer.json", model = folder / "tokenizer.model";
  // SentencePiece's own file knows its scores.
  if (HasFile(model)) {
    FromSentencePiece(model, vocabulary);
    if (HasFile(json)) ReadSpaces(ReadJsonFile(json), json.string(), vocabulary);  // which is what is run
  } else if (HasFile(json)) {
    FromTokenizerJson(ReadJsonFile(json), json.string(), vocabulary);
  } else {
    FromTokenizerJson(FromVocabularyAndMerges(folder), folder.string(), vocabulary);
  }
  AddTokens(tokenizer, size, folder, vocabulary);
  NameSpecialTokens(tokenizer, vocabulary);
  return vocabulary;
}

}  // namespace gptq
