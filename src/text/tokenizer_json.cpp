#include "text/tokenizer_json.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/json_fields.h"
#include "text/unigram_model.h"

namespace gptq {
namespace {

void RefuseUnless(bool supported, std::string_view what, std::string_view where) {
  if (!supported) throw Error(Concat(what, " is not supported"), where, "use a model with another tokenizer");
}

// "a b" or ["a", "b"].
std::pair<std::string, std::string> ParseMerge(const Json& merge, size_t index, std::string_view where) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  throw Error(Concat("merge ", index, " is ", Dump(merge), ", neither 'a b' nor [a, b]"), where,
              "correct the file");
}

std::string ModelType(const Json& model, std::string_view where) {
  if (const auto type = FindString(model, "type", where)) return *type;
  if (FindField(model, "merges") != nullptr) return "BPE";
  if (const Json* vocabulary = FindField(model, "vocab"); vocabulary != nullptr && vocabulary->is_array())
    return "Unigram";
  throw Error("the model has no 'type'", where, "correct the file");
}

BpeOptions ParseBpeOptions(const Json& model, const Vocabulary& vocabulary, std::string_view where) {
  const Json* dropout = FindField(model, "dropout");
  RefuseUnless(dropout == nullptr || *dropout == 0, "BPE with dropout", where);
  RefuseUnless(FindString(model, "continuing_subword_prefix", where).value_or("").empty(),
               "a continuing_subword_prefix", where);
  RefuseUnless(FindString(model, "end_of_word_suffix", where).value_or("").empty(), "an end_of_word_suffix",
               where);
  BpeOptions options;
  options.byte_fallback = FindBool(model, "byte_fallback", where).value_or(false);
  options.ignore_merges = FindBool(model, "ignore_merges", where).value_or(false);
  options.fuse_unknown = FindBool(model, "fuse_unk", where).value_or(false);
  if (const auto unknown = FindString(model, "unk_token", where)) {
    options.unknown = vocabulary.Find(*unknown);
    if (!options.unknown) {
      throw Error(Concat("unk_token '", *unknown, "' is not in the vocabulary"), where, "correct the file");
    }
  }
  return options;
}

void ReadBpe(const Json& model, std::string_view where, TokenizerParts& parts) {
  parts.vocabulary = std::make_unique<Vocabulary>(
      ParseVocabulary(RequiredField(model, "vocab", where), where), std::vector<bool>());
  const BpeOptions options = ParseBpeOptions(model, *parts.vocabulary, where);
  MergeList merges;
  for (const Json& merge : RequiredArray(model, "merges", where))
    merges.push_back(ParseMerge(merge, merges.size(), where));
  parts.special.unknown = options.unknown;
  parts.model = std::make_unique<BpeModel>(*parts.vocabulary, merges, options, where);
}

// [[token, score], ...], a token's id its place.
void ReadUnigram(const Json& model, std::string_view where, TokenizerParts& parts) {
  std::vector<std::string> tokens;
  std::vector<double> scores;
  for (const Json& entry : RequiredArray(model, "vocab", where)) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      WrongType("vocab", "a list of tokens and scores", where);
    tokens.push_back(entry[0].get<std::string>());
    scores.push_back(entry[1].get<double>());
  }
  if (tokens.empty()) WrongType("vocab", "a list of tokens and scores", where);
  UnigramOptions options;
  options.byte_fallback = FindBool(model, "byte_fallback", where).value_or(false);
  if (const Json* unknown = FindField(model, "unk_id")) {
    options.unknown = ToTokenId(*unknown, "unk_id", where);
    if (static_cast<size_t>(*options.unknown) >= tokens.size())
      throw Error(Concat("unk_id ", *options.unknown, " is outside the vocabulary"), where,
                  "correct the file");
  }
  parts.special.unknown = options.unknown;
  parts.vocabulary = std::make_unique<Vocabulary>(std::move(tokens), std::vector<bool>());
  parts.model = std::make_unique<UnigramModel>(*parts.vocabulary, scores, options, where);
}

void ReadAddedTokens(const Json& file, std::string_view where, TokenizerParts& parts) {
  const Json* tokens = FindField(file, "added_tokens");
  if (tokens == nullptr) return;
  if (!tokens->is_array()) WrongType("added_tokens", "a list", where);
  for (const Json& token : *tokens) {
    const int32_t id = ToTokenId(RequiredField(token, "id", where), "id", where);
    parts.added_tokens.push_back(ParseAddedToken(token, id, where));
    const std::string& content = parts.added_tokens.back().content;
    const auto in_model = parts.vocabulary->Find(content);
    if (in_model && *in_model != id) {
      throw Error(
          Concat("the added token '", content, "' has the id ", id, " and, in the vocabulary, ", *in_model),
          where, "correct the file");
    }
  }
}

}  // namespace

std::vector<std::string> ParseVocabulary(const Json& vocabulary, std::string_view where) {
  if (!vocabulary.is_object() || vocabulary.empty()) WrongType("vocab", "an object of tokens and ids", where);
  const size_t most = vocabulary.size() * 2 + 100'000;  // some vocabularies have gaps
  std::vector<std::string> tokens;
  for (const auto& [text, value] : vocabulary.items()) {
    const auto id = static_cast<size_t>(ToTokenId(value, "vocab", where));
    if (id >= most) {
      throw Error(Concat("the token '", text, "' has the id ", id, " among ", vocabulary.size(), " tokens"),
                  where, "correct the file or fetch it again");
    }
    if (id >= tokens.size()) tokens.resize(id + 1);
    if (!tokens[id].empty()) {
      throw Error(Concat("the tokens '", tokens[id], "' and '", text, "' have the same id ", id), where,
                  "correct the file");
    }
    tokens[id] = text;
  }
  return tokens;
}

AddedToken ParseAddedToken(const Json& description, int32_t id, std::string_view where) {
  AddedToken token;
  token.id = id;
  token.content = RequiredString(description, "content", where);
  token.special = FindBool(description, "special", where).value_or(false);
  token.normalized = FindBool(description, "normalized", where).value_or(!token.special);
  token.single_word = FindBool(description, "single_word", where).value_or(false);
  token.lstrip = FindBool(description, "lstrip", where).value_or(false);
  token.rstrip = FindBool(description, "rstrip", where).value_or(false);
  return token;
}

void ReadPipeline(const Json& pipeline, std::string_view where, TokenizerParts& parts) {
  const auto part = [&](std::string_view key) {
    const Json* field = FindField(pipeline, key);
    return field == nullptr ? Json() : *field;
  };
  parts.normalizer = Normalizer(part("normalizer"), where);
  parts.pre_tokenizer = PreTokenizer(part("pre_tokenizer"), where);
  parts.token_template = ParseTemplate(part("post_processor"), where);
  parts.decoder = TokenDecoder(part("decoder"), where);
}

TokenizerParts PartsFromTokenizerJson(const Json& file, std::string_view where) {
  if (!file.is_object()) throw Error("not a tokenizer: no JSON object", where, "give a tokenizer.json");
  const Json& model = RequiredField(file, "model", where);
  const std::string type = ModelType(model, where);
  RefuseUnless(type == "BPE" || type == "Unigram", Concat("the tokenizer model '", type, "'"), where);
  TokenizerParts parts;
  type == "BPE" ? ReadBpe(model, where, parts) : ReadUnigram(model, where, parts);
  ReadAddedTokens(file, where, parts);
  ReadPipeline(file, where, parts);
  return parts;
}

}  // namespace gptq
