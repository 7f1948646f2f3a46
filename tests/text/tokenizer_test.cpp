#include "text/tokenizer.h"

#include <fstream>

#include "tests/text/tokenizer_fixtures.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_json.h"

namespace gptq {
namespace tokenizer_test {

using Ids = std::vector<int32_t>;

// Characters as tokens, "ab" merged, <s> and </s> around a text, and one added token.
Json SmallTokenizer() {
  return {{"added_tokens",
           {{{"id", 5}, {"content", "<s>"}, {"special", true}, {"normalized", false}},
            {{"id", 6}, {"content", "</s>"}, {"special", true}, {"normalized", false}},
            {{"id", 7}, {"content", "[x]"}, {"special", false}, {"normalized", false}}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single",
             {{{"SpecialToken", {{"id", "<s>"}}}},
              {{"Sequence", {{"id", "A"}}}},
              {{"SpecialToken", {{"id", "</s>"}}}}}},
            {"special_tokens",
             {{"<s>", {{"id", "<s>"}, {"ids", {5}}}}, {"</s>", {{"id", "</s>"}, {"ids", {6}}}}}}}},
          {"decoder", {{"type", "Fuse"}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}, {" ", 3}, {"<", 4}}},
            {"merges", {"a b"}}}}};
}

Tokenizer Make(const Json& file) { return Tokenizer(PartsFromTokenizerJson(file, "t.json"), "t.json"); }

TEST(Tokenizer, EncodesAndDecodes) {
  const Tokenizer tokenizer = Make(SmallTokenizer());
  EXPECT_EQ(tokenizer.Encode("ab<s>a"), (Ids{2, 5, 0}));
  EXPECT_EQ(tokenizer.Encode("ab<s>a", SpecialText::kPlain), (Ids{2, 4, 0}));
  EXPECT_EQ(tokenizer.Encode("[x]a", SpecialText::kPlain), (Ids{7, 0}));
  EXPECT_EQ(tokenizer.EncodeWithSpecialTokens("b"), (Ids{5, 1, 6}));
  EXPECT_EQ(tokenizer.TemplateBefore(), Ids{5});
  EXPECT_EQ(tokenizer.TemplateAfter(), Ids{6});
  EXPECT_EQ(tokenizer.EncodeWithSpecialTokens(""), (Ids{5, 6}));
  EXPECT_EQ(tokenizer.VocabularySize(), 8);
  EXPECT_EQ(tokenizer.Decode(Ids{5, 2, 3, 7}), "<s>ab [x]");
  EXPECT_EQ(tokenizer.Decode(Ids{5, 2, 3, 7}, false), "ab [x]");
  EXPECT_TRUE(tokenizer.IsSpecial(5));
  EXPECT_FALSE(tokenizer.IsSpecial(7) || tokenizer.IsSpecial(0) || tokenizer.IsSpecial(-1) ||
               tokenizer.IsSpecial(99));
  EXPECT_EQ(tokenizer.FindToken("</s>"), 6);
  EXPECT_EQ(tokenizer.FindToken("ab"), 2);
  EXPECT_FALSE(tokenizer.FindToken("zz").has_value());
  EXPECT_ERROR(tokenizer.Decode(Ids{8}), "outside the vocabulary");
  EXPECT_ERROR(tokenizer.Decode(Ids{-1}), "outside the vocabulary");
}

TEST(Tokenizer, AddedTokensTakeWhiteSpaceAndWholeWords) {
  Json file = SmallTokenizer();
  Json& token = file["added_tokens"][2];
  token["lstrip"] = token["rstrip"] = true;
  EXPECT_EQ(Make(file).Encode("a  [x]  b"), (Ids{0, 7, 1}));
  token["lstrip"] = token["rstrip"] = false;
  token["content"] = "ba";
  EXPECT_EQ(Make(file).Encode("ba ba"), (Ids{7, 3, 7}));
  token["single_word"] = true;
  EXPECT_EQ(Make(file).Encode("ba aba"), (Ids{7, 3, 2, 0}));
}

TEST(Tokenizer, LongestAddedTokenWins) {
  AddedTokenMatcher matcher({{.id = 1, .content = "<a"},
                             {.id = 2, .content = "<a>"},
                             {.id = 3, .content = "<a><b", .special = true}});
  const auto ids = [&](std::string_view text, bool special) {
    Ids found;
    for (const Segment& segment : matcher.Split(text, special)) found.push_back(segment.id);
    return found;
  };
  EXPECT_EQ(ids("x<a>y<a", true), (Ids{-1, 2, -1, 1}));
  EXPECT_EQ(ids("<a><b<a", true), (Ids{3, 1}));
  EXPECT_EQ(ids("<a><b", false), (Ids{2, -1}));
}

TEST(Tokenizer, NormalizedAddedTokensAreSoughtInNormalizedText) {
  Json file = SmallTokenizer();
  file["normalizer"] = {{"type", "Lowercase"}};
  file["added_tokens"][2]["normalized"] = true;
  file["added_tokens"][2]["content"] = "[X]";
  EXPECT_EQ(Make(file).Encode("A[X]B[x]"), (Ids{0, 7, 1, 7}));
}

TEST(Tokenizer, IllFormedTextIsReplaced) {
  Json file = SmallTokenizer();
  file["model"]["vocab"]["\uFFFD"] = 8;
  EXPECT_EQ(Make(file).Encode("a\xFF"
                              "b"),
            (Ids{0, 8, 1}));
}

TEST(Tokenizer, StreamsWholeCharacters) {
  const Tokenizer tokenizer = LoadTokenizer(TokenizerData("gpt2/tokenizer.json"));
  const std::string text = "na\u00EFve \U0001F642\U0001F469\u200D\U0001F680 \u6A5F\u5668 ok";
  const Ids ids = tokenizer.Encode(text);
  StreamingDecoder stream(tokenizer);
  std::string joined;
  for (const int32_t id : ids) {
    const std::string part = stream.Next(id);
    EXPECT_TRUE(part.find("\uFFFD") == std::string::npos);
    joined += part;
  }
  EXPECT_EQ(joined + stream.Finish(), text);
  // The first byte of an emoji and nothing more.
  StreamingDecoder broken(tokenizer);
  EXPECT_EQ(broken.Next(tokenizer.Encode("\U0001F642")[0]), "");
  EXPECT_EQ(broken.Finish(), "\uFFFD");
  EXPECT_EQ(broken.Next(1'000'000), "");
}

TEST(Tokenizer, StreamsContinuationsWithTheirSpace) {
  const Tokenizer tokenizer = LoadTokenizer(TokenizerData("llama2/tokenizer.model"));
  const Ids ids = tokenizer.Encode("hello");
  EXPECT_EQ(StreamingDecoder(tokenizer).Next(ids[0]), "hello");
  EXPECT_EQ(StreamingDecoder(tokenizer, true, true).Next(ids[0]), " hello");
  EXPECT_EQ(StreamingDecoder(tokenizer, false).Next(*tokenizer.bos()), "");
}

TEST(TokenDecoder, Kinds) {
  const auto text = [](const Json& description, const std::vector<std::string>& tokens) {
    const TokenDecoder decoder(description, "test");
    std::string result;
    for (size_t i = 0; i < tokens.size(); ++i)
      result += decoder.Bytes(tokens[i], TokenDecoder::Kind::kModel, i == 0);
    return result;
  };
  EXPECT_EQ(text(Json(), {"a", "b"}), "a b");
  EXPECT_EQ(text({{"type", "Metaspace"}}, {"\u2581a", "\u2581b"}), "a b");
  EXPECT_EQ(text({{"type", "Metaspace"}, {"prepend_scheme", "never"}}, {"\u2581a", "\u2581b"}), " a b");
  EXPECT_EQ(text({{"type", "ByteLevel"}}, {"\u0120a\u00C3", "\u00A9"}), " a\u00E9");
  EXPECT_ERROR(text({{"type", "WordPiece"}}, {}), "WordPiece");
  EXPECT_ERROR(text({{"type", "Strip"}, {"content", " "}, {"start", 0}, {"stop", 1}}, {}), "Strip");
}

TEST(TokenizerJson, RefusesWhatWouldChangeIds) {
  const auto refused = [](const char* pointer, const Json& value, const char* message) {
    Json file = SmallTokenizer();
    file[Json::json_pointer(pointer)] = value;
    EXPECT_ERROR(Make(file), message);
  };
  refused("/model/type", "WordPiece", "'WordPiece'");
  refused("/model/dropout", 0.1, "dropout");
  refused("/model/end_of_word_suffix", "</w>", "end_of_word_suffix");
  refused("/model/continuing_subword_prefix", "##", "continuing_subword_prefix");
  refused("/model/unk_token", "<unk>", "unk_token");
  refused("/model/merges/0", "a b c", "merge 0");
  refused("/model/merges/0", {"a", 3}, "merge 0");
  refused("/model/vocab/a", -1, "token id");
  refused("/model/vocab/a", 1, "same id");
  refused("/model/vocab/a", 2'000'000'000, "among 5 tokens");
  refused("/model/vocab", Json::array(), "vocab");
  refused("/added_tokens/0/id", 2'000'000'000, "far outside");
  refused("/added_tokens/0/content", "a", "'a'");
  refused("/added_tokens/0/special", "yes", "true or false");
  refused("/post_processor/special_tokens/<s>/ids/0", 99, "template's");
  refused("/post_processor/type", "Other", "'Other'");
  refused("/post_processor/single", Json::array(), "0 times");
  refused("/normalizer", {{"type", "Nmt"}}, "'Nmt'");
  refused("/pre_tokenizer", {{"type", "BertPreTokenizer"}}, "'BertPreTokenizer'");
  refused("/decoder", {{"type", "CTC"}}, "'CTC'");
  EXPECT_ERROR(Make(Json::array()), "t.json");
  EXPECT_ERROR(Make(Json::object()), "'model'");
}

TEST(TokenTemplate, RobertaAndSequences) {
  const Json roberta = {{"type", "RobertaProcessing"}, {"cls", {"<s>", 0}}, {"sep", {"</s>", 2}}};
  EXPECT_EQ(ParseTemplate(roberta, "test").before, Ids{0});
  EXPECT_EQ(ParseTemplate(roberta, "test").after, Ids{2});
  const Json sequence = {{"type", "Sequence"}, {"processors", {{{"type", "ByteLevel"}}, roberta}}};
  EXPECT_EQ(ParseTemplate(sequence, "test").before, Ids{0});
  EXPECT_TRUE(ParseTemplate(Json(), "test").before.empty());
}

void Write(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

TEST(TokenizerFiles, ReadTheConfigurationBeside) {
  TemporaryFolder folder;
  Write(folder.path() / "tokenizer.json", Dump(SmallTokenizer()));
  Write(
      folder.path() / "tokenizer_config.json",
      R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": "nowhere", "add_bos_token": false,
            "tokenizer_class": "LlamaTokenizerFast",
            "added_tokens_decoder": {"8": {"content": "<end>", "special": true}, "5": {"content": "<s>"}},
            "chat_template": [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]})");
  Write(folder.path() / "generation_config.json", R"({"eos_token_id": [8, 6, 4000]})");
  Write(folder.path() / "config.json", R"({"eos_token_id": 3, "pad_token_id": 4})");
  const Tokenizer tokenizer = LoadTokenizer(folder.path());
  EXPECT_EQ(tokenizer.bos(), 5);
  EXPECT_EQ(tokenizer.eos(), 6);
  EXPECT_FALSE(tokenizer.pad().has_value());
  EXPECT_EQ(tokenizer.ends(), (Ids{6, 8}));
  EXPECT_TRUE(tokenizer.IsEnd(8) && !tokenizer.IsEnd(3));
  EXPECT_TRUE(tokenizer.TemplateBefore().empty());
  EXPECT_EQ(tokenizer.TemplateAfter(), Ids{6});
  EXPECT_EQ(tokenizer.Encode("a<end>"), (Ids{0, 8}));
  EXPECT_EQ(tokenizer.chat_template(), "D");
  Write(folder.path() / "chat_template.jinja", "J");
  EXPECT_EQ(LoadTokenizer(folder.path()).chat_template(), "J");
}

TEST(TokenizerFiles, SayWhatIsMissing) {
  TemporaryFolder folder;
  EXPECT_FALSE(HasTokenizer(folder.path()));
  EXPECT_ERROR(LoadTokenizer(folder.path()), "no tokenizer");
  EXPECT_ERROR(LoadTokenizer(folder.path() / "tokenizer.json"), "cannot open");
  Write(folder.path() / "vocab.json", R"({"a": 0})");
  Write(folder.path() / "merges.txt", "#version: 0.2\n");
  EXPECT_EQ(LoadTokenizer(folder.path()).Encode("a"), Ids{0});
  Write(folder.path() / "tokenizer_config.json", R"({"tokenizer_class": "XlmTokenizer"})");
  EXPECT_ERROR(LoadTokenizer(folder.path()), "XlmTokenizer");
  Write(folder.path() / "tokenizer_config.json", "{}");
  Write(folder.path() / "merges.txt", "onlyone\n");
  EXPECT_ERROR(LoadTokenizer(folder.path()), "onlyone");
}

std::string Field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(bytes.size()) + bytes;
}

TEST(SentencePiece, UserDefinedPiecesAreKeptWhole) {
  const auto piece = [](const std::string& text, char kind) {
    return Field(1, Field(1, text) + std::string("\x18") + kind);
  };
  const std::string file = piece("<unk>", 2) + piece("a", 1) + piece("b", 1) + piece("ab", 1) +
                           piece("\u2581", 1) + piece("b\u2581", 4) + Field(2, std::string("\x18\x02", 2)) +
                           Field(3, std::string("\x20\x00", 2));
  const Tokenizer tokenizer(PartsFromSentencePiece(ParseSentencePieceModel(file, "m"), "m"), "m");
  EXPECT_EQ(tokenizer.Encode("ab ab"), (Ids{4, 1, 5, 3}));
  EXPECT_EQ(tokenizer.Encode("axxb"), (Ids{4, 1, 0, 2}));
  EXPECT_EQ(tokenizer.Decode(Ids{4, 1, 5, 3}), "ab ab");
}

TEST(SentencePiece, RefusesOtherModels) {
  const std::string piece = Field(1, Field(1, "a"));
  const auto load = [&](const std::string& specs) {
    PartsFromSentencePiece(ParseSentencePieceModel(piece + specs, "m"), "m");
  };
  EXPECT_ERROR(load(Field(2, std::string("\x18\x03", 2))), "whole words or characters");
  EXPECT_ERROR(load(Field(2, std::string("\x18\x04", 2))), "whole words or characters");
  EXPECT_ERROR(load(Field(2, std::string("\x18\x02", 2)) + Field(3, Field(2, "map"))), "character map");
  EXPECT_ERROR(ParseSentencePieceModel("", "m"), "without pieces");
  EXPECT_ERROR(ParseSentencePieceModel("\x0A\xFF", "m"), "damaged");
  EXPECT_ERROR(ParseSentencePieceModel(Field(1, Field(1, "\xFF")), "m"), "not UTF-8");
}

GgufVocabulary SmallGguf() {
  GgufVocabulary v;
  v.model = "gpt2";
  v.pre = "gpt-2";
  v.tokens = {"a", "b", "ab", "<eos>"};
  v.token_types = {1, 1, 1, 3};
  v.merges = {"a b"};
  v.eos = 3;
  v.add_eos = true;
  v.bos = 4294967295;
  return v;
}

TEST(GgufVocabulary, Loads) {
  const Tokenizer tokenizer = TokenizerFromGguf(SmallGguf(), "m.gguf");
  EXPECT_EQ(tokenizer.EncodeWithSpecialTokens("ab<eos>"), (Ids{2, 3, 3}));
  EXPECT_FALSE(tokenizer.bos().has_value());
  EXPECT_EQ(tokenizer.ends(), Ids{3});
}

TEST(GgufVocabulary, RefusesListsThatDoNotFit) {
  const auto refused = [](auto change, const char* message) {
    GgufVocabulary v = SmallGguf();
    change(v);
    EXPECT_ERROR(TokenizerFromGguf(v, "m.gguf"), message);
  };
  refused([](GgufVocabulary& v) { v.model = "bert"; }, "'bert'");
  refused([](GgufVocabulary& v) { v.pre = "new"; }, "'new'");
  refused([](GgufVocabulary& v) { v.pre = ""; }, "tokenizer.ggml.pre");
  refused([](GgufVocabulary& v) { v.tokens.clear(); }, "0 tokens");
  refused([](GgufVocabulary& v) { v.token_types.pop_back(); }, "token types");
  refused([](GgufVocabulary& v) { v.token_types[0] = 9; }, "unknown type 9");
  refused([](GgufVocabulary& v) { v.model = "llama"; }, "scores");
  refused([](GgufVocabulary& v) { v.merges = {"ab"}; }, "'ab'");
  refused([](GgufVocabulary& v) { v.merges = {"b a"}; }, "'ba'");
}

}  // namespace tokenizer_test
}  // namespace gptq
