// Token ids against those of Hugging Face tokenizers, sentencepiece and llama.cpp.
#include "tests/text/tokenizer_fixtures.h"
#include "text/export.h"

namespace gptq {
namespace golden_test {

bool HasGolden(const std::string& name) {
  return std::filesystem::exists(TokenizerData("golden/" + name + ".jsonl"));
}

class GgufGolden : public testing::TestWithParam<const char*> {};

TEST_P(GgufGolden, IdsTextAndCounts) {
  const std::string name = GetParam();
  const Tokenizer tokenizer = LoadGgufTokenizer(name + ".gguf");
  ASSERT_TRUE(HasGolden("gguf-" + name) || HasGolden("upstream-" + name));
  if (HasGolden("gguf-" + name)) {
    ExpectGolden(tokenizer, "gguf-" + name);
    ExpectCounts(tokenizer, "gguf-" + name);
  }
  if (HasGolden("upstream-" + name)) ExpectGolden(tokenizer, "upstream-" + name);
}

INSTANTIATE_TEST_SUITE_P(Files, GgufGolden,
                         testing::Values("smollm2", "stories260k", "llama-spm", "llama-bpe", "qwen2",
                                         "qwen35", "falcon", "deepseek-llm", "deepseek-coder", "starcoder",
                                         "refact"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(Golden, Gpt2FromTokenizerJson) {
  const Tokenizer tokenizer = LoadTokenizer(TokenizerData("gpt2/tokenizer.json"));
  ExpectGolden(tokenizer, "gpt2");
  ExpectCounts(tokenizer, "gpt2");
}

TEST(Golden, Gpt2FromVocabularyAndMerges) {
  TemporaryFolder folder;
  for (const char* name : {"vocab.json", "merges.txt"}) {
    std::filesystem::copy_file(TokenizerData("gpt2") / name, folder.path() / name);
  }
  const Tokenizer tokenizer = LoadTokenizer(folder.path());
  ExpectGolden(tokenizer, "gpt2");
  ExpectCounts(tokenizer, "gpt2");
}

TEST(Golden, GptNeox) {
  const Tokenizer tokenizer = LoadTokenizer(TokenizerData("gpt-neox"));
  ExpectGolden(tokenizer, "gpt-neox");
  ExpectCounts(tokenizer, "gpt-neox");
}

TEST(Golden, Llama2FromSentencePiece) {
  const Tokenizer tokenizer = LoadTokenizer(TokenizerData("llama2/tokenizer.model"));
  ExpectGolden(tokenizer, "llama2");
  ExpectCounts(tokenizer, "llama2");
  for (const Json& golden : GoldenCases("llama2")) {
    EXPECT_EQ(tokenizer.Encode(golden["text"].get<std::string>(), SpecialText::kPlain),
              Ids(golden["ids_no_special_parsing"]));
  }
}

// This model drops extra white space, which only sentencepiece itself obeys.
TEST(Golden, Stories260kFromSentencePiece) {
  const Tokenizer tokenizer = LoadTokenizer(TokenizerData("stories260k"));
  ExpectCounts(tokenizer, "stories260k");
  for (const Json& golden : GoldenCases("stories260k")) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const std::string text = golden["text"].get<std::string>();
    const std::vector<int32_t> plain = Ids(golden["ids_no_special_parsing"]);
    EXPECT_EQ(tokenizer.Encode(text, SpecialText::kPlain), plain);
    if (text.find("<s>") == std::string::npos && text.find("<unk>") == std::string::npos) {
      EXPECT_EQ(tokenizer.Encode(text), plain);
    }
    EXPECT_EQ(tokenizer.Decode(Ids(golden["ids"])), golden["decoded"].get<std::string>());
  }
}

Tokenizer Exported(const GgufVocabulary& vocabulary, const std::filesystem::path& folder) {
  for (const TextFile& file : ExportTokenizer(vocabulary, 2048, "test")) {
    std::ofstream(folder / file.name, std::ios::binary) << file.content;
  }
  return LoadTokenizer(folder);
}

TEST(Golden, ExportOfByteLevelBpe) {
  TemporaryFolder folder;
  const GgufVocabulary vocabulary = ReadGgufVocabulary(TokenizerData("gguf/smollm2.gguf"));
  const Tokenizer tokenizer = Exported(vocabulary, folder.path());
  ExpectGolden(tokenizer, "smollm2");
  ExpectCounts(tokenizer, "smollm2");
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_EQ(tokenizer.pad(), 2);
  EXPECT_TRUE(tokenizer.TemplateBefore().empty());
  EXPECT_EQ(tokenizer.chat_template(), vocabulary.chat_template);
  EXPECT_TRUE(tokenizer.chat_template().has_value());
}

// What transformers 5.23 writes for this GGUF file: the stage that takes digits one by one is lost.
TEST(Golden, TokenizerJsonWithoutTheStageOfDigits) {
  TemporaryFolder folder;
  for (const TextFile& file :
       ExportTokenizer(ReadGgufVocabulary(TokenizerData("gguf/smollm2.gguf")), 2048, "test")) {
    if (file.name != "tokenizer.json") continue;
    Json json = ParseJson(file.content, file.name);
    json["pre_tokenizer"] = json.at("pre_tokenizer").at("pretokenizers").back();
    ASSERT_EQ(json["pre_tokenizer"]["type"], "ByteLevel");
    std::ofstream(folder.path() / file.name, std::ios::binary) << Dump(json);
  }
  const Tokenizer tokenizer = LoadTokenizer(folder.path());
  ExpectGolden(tokenizer, "smollm2-converted-json");
  ExpectCounts(tokenizer, "smollm2-converted-json");
}

TEST(Golden, ExportOfSentencePieceBpe) {
  TemporaryFolder folder;
  const Tokenizer tokenizer =
      Exported(ReadGgufVocabulary(TokenizerData("gguf/stories260k.gguf")), folder.path());
  ExpectGolden(tokenizer, "gguf-stories260k");
  ExpectCounts(tokenizer, "gguf-stories260k");
  EXPECT_EQ(tokenizer.TemplateBefore(), std::vector<int32_t>{1});
}

}  // namespace golden_test
}  // namespace gptq
