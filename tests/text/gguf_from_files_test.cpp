#include "text/gguf_from_files.h"

#include "tests/text/tokenizer_fixtures.h"
#include "text/export.h"
#include "text/sentencepiece_pipeline.h"

namespace gptq {
namespace gguf_from_files_test {

namespace fs = std::filesystem;

constexpr const char* kText =
    "Once upon a time, there were 1234 dogs' tails\n\n  and caf\u00e9s \U0001F600 at 5.50!  The "
    "end<|im_end|>";

void ExpectSameIds(const Tokenizer& a, const Tokenizer& b) {
  EXPECT_EQ(a.Encode(kText), b.Encode(kText));
  const std::string text = WikiText().substr(0, 200000);
  EXPECT_EQ(a.EncodeWithSpecialTokens(text), b.EncodeWithSpecialTokens(text));
  EXPECT_EQ(a.bos(), b.bos());
  EXPECT_EQ(a.eos(), b.eos());
  EXPECT_EQ(a.TemplateBefore(), b.TemplateBefore());
  EXPECT_EQ(a.TemplateAfter(), b.TemplateAfter());
  EXPECT_EQ(a.chat_template(), b.chat_template());
}

TEST(GgufFromFiles, ByteLevelBpeFromTokenizerJson) {
  const GgufVocabulary original = ReadGgufVocabulary(TokenizerData("gguf/smollm2.gguf"));
  TemporaryFolder folder;
  for (const TextFile& file : ExportTokenizer(original, 2048, "test"))
    std::ofstream(folder.path() / file.name, std::ios::binary) << file.content;
  const auto size = static_cast<int64_t>(original.tokens.size());
  const GgufVocabulary vocabulary = GgufVocabularyFromFolder(folder.path(), size + 3);
  EXPECT_EQ(vocabulary.model, "gpt2");
  EXPECT_EQ(vocabulary.pre, "smollm");
  EXPECT_EQ(vocabulary.merges, original.merges);
  ASSERT_EQ(vocabulary.tokens.size(), original.tokens.size() + 3);
  EXPECT_TRUE(std::equal(original.tokens.begin(), original.tokens.end(), vocabulary.tokens.begin()));
  EXPECT_TRUE(
      std::equal(original.token_types.begin(), original.token_types.end(), vocabulary.token_types.begin()));
  EXPECT_EQ(vocabulary.token_types.back(), static_cast<int32_t>(TokenKind::kUnused));
  ExpectSameIds(TokenizerFromGguf(vocabulary, "test"), LoadTokenizer(folder.path()));
  EXPECT_ERROR(GgufVocabularyFromFolder(folder.path(), size - 1), "tokens, the embedding");
}

TEST(GgufFromFiles, SentencePieceFromItsModel) {
  for (const auto& [name, size] : {std::pair{"llama2", 32000}, {"stories260k", 512}}) {
    TemporaryFolder folder;
    fs::copy_file(TokenizerData(name) / "tokenizer.model", folder.path() / "tokenizer.model");
    const GgufVocabulary vocabulary = GgufVocabularyFromFolder(folder.path(), size);
    EXPECT_EQ(vocabulary.model, "llama");
    EXPECT_EQ(vocabulary.scores.size(), vocabulary.tokens.size());
    // llama2's model keeps extra spaces, stories260k's removes them.
    EXPECT_EQ(vocabulary.remove_extra_spaces, name == std::string("stories260k"));
    const Tokenizer read = TokenizerFromGguf(vocabulary, "test");
    EXPECT_EQ(read.TemplateBefore(), std::vector<int32_t>{1});
    ExpectSameIds(read, LoadTokenizer(folder.path()));
    for (const TextFile& file : ExportTokenizer(vocabulary, 2048, "test"))
      std::ofstream(folder.path() / file.name, std::ios::binary) << file.content;
    const GgufVocabulary again = GgufVocabularyFromFolder(folder.path(), size);
    EXPECT_EQ(again.remove_extra_spaces, vocabulary.remove_extra_spaces);
    ExpectSameIds(TokenizerFromGguf(again, "test"), read);
  }
}

// What a tokenizer.json does to text first goes over to GGUF, or is refused.
TEST(GgufFromFiles, NormalizersOfSentencePiece) {
  const GgufVocabulary original = ReadGgufVocabulary(TokenizerData("gguf/stories260k.gguf"));
  TemporaryFolder folder;
  for (const TextFile& file : ExportTokenizer(original, 2048, "test"))
    std::ofstream(folder.path() / file.name, std::ios::binary) << file.content;
  const fs::path path = folder.path() / "tokenizer.json";
  Json file = ReadJsonFile(path);
  const auto with = [&](Json normalizer) {
    file["normalizer"] = std::move(normalizer);
    std::ofstream(path, std::ios::binary) << Dump(file);
    return GgufVocabularyFromFolder(folder.path(), 512);
  };
  const Json bare = SentencePieceNormalizer({.prefix = false, .remove_extra = false});
  EXPECT_EQ(with(bare).add_space_prefix, false);
  EXPECT_EQ(with(bare).remove_extra_spaces, false);
  const GgufVocabulary mapped =
      with(SentencePieceNormalizer({.prefix = true, .remove_extra = true}, MapOfA()));
  EXPECT_EQ(mapped.add_space_prefix, true);
  EXPECT_EQ(mapped.remove_extra_spaces, true);
  EXPECT_EQ(mapped.character_map, MapOfA());
  EXPECT_EQ(TokenizerFromGguf(mapped, "test").Encode(" A  CAt "),
            TokenizerFromGguf(original, "test").Encode("a Cat"));
  EXPECT_ERROR(with({{"type", "NFC"}}), "no name for the way that this tokenizer normalizes");
}

// Scores made from merges order them as the merges do.
TEST(GgufFromFiles, SentencePieceFromTokenizerJson) {
  const GgufVocabulary original = ReadGgufVocabulary(TokenizerData("gguf/stories260k.gguf"));
  TemporaryFolder folder;
  for (const TextFile& file : ExportTokenizer(original, 2048, "test"))
    std::ofstream(folder.path() / file.name, std::ios::binary) << file.content;
  const GgufVocabulary vocabulary = GgufVocabularyFromFolder(folder.path(), 512);
  EXPECT_EQ(vocabulary.model, "llama");
  EXPECT_EQ(vocabulary.token_types, original.token_types);
  ExpectSameIds(TokenizerFromGguf(vocabulary, "test"), LoadTokenizer(folder.path()));
}

TEST(GgufFromFiles, ByteLevelBpeFromVocabularyAndMerges) {
  TemporaryFolder folder;
  for (const char* name : {"vocab.json", "merges.txt"})
    fs::copy_file(TokenizerData("gpt2") / name, folder.path() / name);
  const GgufVocabulary vocabulary = GgufVocabularyFromFolder(folder.path(), 50257);
  EXPECT_EQ(vocabulary.pre, "gpt-2");
  ExpectSameIds(TokenizerFromGguf(vocabulary, "test"), LoadTokenizer(folder.path()));
}

// The class that reads such files says how they cut text.
TEST(GgufFromFiles, VocabularyAndMergesOfAnotherClass) {
  TemporaryFolder folder;
  for (const char* name : {"vocab.json", "merges.txt"})
    fs::copy_file(TokenizerData("gpt2") / name, folder.path() / name);
  std::ofstream(folder.path() / "tokenizer_config.json") << R"({"tokenizer_class": "Qwen2Tokenizer"})";
  const GgufVocabulary vocabulary = GgufVocabularyFromFolder(folder.path(), 50257);
  EXPECT_EQ(vocabulary.pre, "qwen2");
  ExpectSameIds(TokenizerFromGguf(vocabulary, "test"), LoadTokenizer(folder.path()));
}

TEST(GgufFromFiles, RefusesWhatGgufCannotSay) {
  TemporaryFolder folder;
  EXPECT_ERROR(GgufVocabularyFromFolder(folder.path(), 10), "no tokenizer");
  Json file = ReadJsonFile(TokenizerData("gpt2/tokenizer.json"));
  file["pre_tokenizer"] = {{"type", "Whitespace"}};
  std::ofstream(folder.path() / "tokenizer.json") << Dump(file);
  EXPECT_ERROR(GgufVocabularyFromFolder(folder.path(), 50257), "tokenizer.json");
  TemporaryFolder unigram;
  const auto field = [](char number, const std::string& bytes) {
    return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(bytes.size()) + bytes;
  };
  std::ofstream(unigram.path() / "tokenizer.model")
      << field(1, field(1, "<unk>") + "\x18\x02") + field(1, field(1, "a"));
  EXPECT_ERROR(GgufVocabularyFromFolder(unigram.path(), 2), "kind BPE");
}

}  // namespace gguf_from_files_test
}  // namespace gptq
