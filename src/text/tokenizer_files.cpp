#include "text/tokenizer_files.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "text/bpe_model.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/json_fields.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_json.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

TokenizerParts PartsFromFile(const fs::path& path) {
  if (path.extension() == ".json") return PartsFromTokenizerJson(ReadJsonFile(path), path.string());
  return PartsFromSentencePiece(ParseSentencePieceModel(ReadTextFile(path), path.string()), path.string());
}

MergeList ReadMerges(const fs::path& path) {
  const std::string text = ReadTextFile(path);
  MergeList merges;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      throw Error(Concat("the merge '", line, "' does not name two tokens"), path.string(),
                  "fetch the file again");
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

}  // namespace

GgufPreTokenizer PreTokenizerOfClass(const fs::path& folder) {
  const std::string name = TokenizerClass(folder);
  const std::string where = (folder / "tokenizer_config.json").string();
  if (name.empty() || name == "GPT2Tokenizer" || name == "CodeGenTokenizer")
    return FindGgufPreTokenizer("gpt-2", "", where);
  if (name == "Qwen2Tokenizer") return FindGgufPreTokenizer("qwen2", "", where);
  throw Error(Concat("vocab.json and merges.txt of the class '", name, "' are not supported"), where,
              "add the model's tokenizer.json to the folder");
}

namespace {

// GPT-2's slow files.
TokenizerParts PartsFromVocabularyAndMerges(const fs::path& folder) {
  const fs::path vocabulary_path = folder / "vocab.json";
  const std::string where = vocabulary_path.string();
  TokenizerParts parts;
  parts.vocabulary = std::make_unique<Vocabulary>(ParseVocabulary(ReadJsonFile(vocabulary_path), where),
                                                  std::vector<bool>());
  const MergeList merges = ReadMerges(folder / "merges.txt");
  parts.model =
      std::make_unique<BpeModel>(*parts.vocabulary, merges, BpeOptions(), (folder / "merges.txt").string());
  const GgufPreTokenizer rule = PreTokenizerOfClass(folder);
  ReadPipeline({{"normalizer", rule.normalizer},
                {"pre_tokenizer", rule.pre_tokenizer},
                {"decoder", {{"type", "ByteLevel"}}}},
               where, parts);
  // The one special token of these classes, should no configuration name it.
  if (const auto end = parts.vocabulary->Find("<|endoftext|>")) {
    parts.added_tokens.push_back({.id = *end, .content = "<|endoftext|>", .special = true});
    parts.special.bos = parts.special.eos = end;
  }
  return parts;
}

TokenizerParts PartsFromFolder(const fs::path& folder) {
  if (HasFile(folder / "tokenizer.json")) return PartsFromFile(folder / "tokenizer.json");
  if (HasFile(folder / "tokenizer.model")) return PartsFromFile(folder / "tokenizer.model");
  if (HasFile(folder / "vocab.json") && HasFile(folder / "merges.txt"))
    return PartsFromVocabularyAndMerges(folder);
  throw Error("no tokenizer (tokenizer.json, tokenizer.model, or vocab.json and merges.txt)", folder.string(),
              "add the tokenizer files of the model");
}

}  // namespace

bool HasFile(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool HasTokenizer(const fs::path& folder) {
  return HasFile(folder / "tokenizer.json") || HasFile(folder / "tokenizer.model") ||
         (HasFile(folder / "vocab.json") && HasFile(folder / "merges.txt"));
}

Tokenizer LoadTokenizer(const fs::path& path) {
  std::error_code ignored;
  const bool is_folder = fs::is_directory(path, ignored);
  TokenizerParts parts = is_folder ? PartsFromFolder(path) : PartsFromFile(path);
  if (is_folder) ReadTokenizerConfig(path, parts);
  return Tokenizer(std::move(parts), path.string());
}

}  // namespace gptq
