#include "text/unigram_model.h"

#include "tests/text/tokenizer_fixtures.h"
#include "text/character_map.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_json.h"

namespace gptq {
namespace unigram_model_test {

using Ids = std::vector<int32_t>;

const std::vector<std::string> kTokens = {"<unk>", "a", "b", "ab", "ba", "aba", "\u00E9", "b\u00E9", "bb"};
const std::vector<double> kScores = {0, -2.5, -3, -4.25, -4.5, -8.125, -5, -6.5, -7.25};

// Every way to cut the piece, the best one.
double BestByTrying(std::string_view piece) {
  if (piece.empty()) return 0;
  double best = -1e300;
  for (size_t i = 1; i < kTokens.size(); ++i) {
    if (piece.starts_with(kTokens[i]))
      best = std::max(best, kScores[i] + BestByTrying(piece.substr(kTokens[i].size())));
  }
  return best;
}

TEST(UnigramModel, FindsTheBestCut) {
  const Vocabulary vocabulary(kTokens, {});
  const UnigramModel model(vocabulary, kScores, {.unknown = 0}, "test");
  std::mt19937 random(2);
  const char* const letters[] = {"a", "b", "\u00E9"};
  for (int round = 0; round < 300; ++round) {
    std::string piece;
    for (size_t i = 0; i < 1 + round % 12u; ++i) piece += letters[random() % 3];
    WordCache cache;
    Ids ids;
    model.Encode(piece, cache, ids);
    double score = 0;
    std::string joined;
    for (const int32_t id : ids) {
      score += kScores[static_cast<size_t>(id)];
      joined += kTokens[static_cast<size_t>(id)];
    }
    EXPECT_EQ(joined, piece);
    EXPECT_DOUBLE_EQ(score, BestByTrying(piece));
    model.Encode(piece, cache, ids);  // from the cache
    EXPECT_EQ(Ids(ids.begin() + static_cast<ptrdiff_t>(ids.size() / 2), ids.end()),
              Ids(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(ids.size() / 2)));
  }
}

TEST(UnigramModel, UnknownCharactersAreFusedOrBytes) {
  const auto encode = [](const std::vector<std::string>& tokens, const UnigramOptions& options) {
    const Vocabulary vocabulary(tokens, {});
    WordCache cache;
    Ids ids;
    UnigramModel(vocabulary, std::vector<double>(tokens.size(), -1), options, "test")
        .Encode("axya", cache, ids);
    return ids;
  };
  EXPECT_EQ(encode({"<unk>", "a"}, {.unknown = 0}), (Ids{1, 0, 1}));
  EXPECT_EQ(encode({"<unk>", "a"}, {}), (Ids{1, 1}));
  EXPECT_EQ(encode({"<unk>", "a", "<0x78>", "<0x79>"}, {.byte_fallback = true, .unknown = 0}),
            (Ids{1, 2, 3, 1}));
  EXPECT_EQ(encode({"<unk>", "a", "<0x78>"}, {.byte_fallback = true, .unknown = 0}), (Ids{1, 0, 1}));
}

Tokenizer FromJson(const Json& file) { return Tokenizer(PartsFromTokenizerJson(file, "json"), "json"); }

// As T5 lays its file out.
TEST(Unigram, FromTokenizerJson) {
  const Json file = ParseJson(R"({
      "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["\u2581", -2], ["a", -3],
                ["\u2581a", -4], ["b", -3.5], ["</s>", 0]]},
      "added_tokens": [{"id": 5, "content": "</s>", "special": true}],
      "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
          {"type": "WhitespaceSplit"}, {"type": "Metaspace", "prepend_scheme": "always"}]},
      "post_processor": {"type": "TemplateProcessing",
          "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
          "special_tokens": {"</s>": {"id": "</s>", "ids": [5]}}},
      "decoder": {"type": "Metaspace", "prepend_scheme": "always"}})",
                              "test");
  const Tokenizer tokenizer = FromJson(file);
  EXPECT_EQ(tokenizer.EncodeWithSpecialTokens("ab  ba\n"), (Ids{3, 4, 1, 4, 2, 5}));
  EXPECT_EQ(tokenizer.Encode("zz b"), (Ids{1, 0, 1, 4}));
  EXPECT_EQ(tokenizer.Decode(Ids{3, 4, 1, 4, 2}), "ab ba");
  for (const char* damage : {"/model/vocab/1/1", "/model/vocab/1/0", "/model/vocab/1", "/model/vocab"}) {
    Json bad = file;
    bad[Json::json_pointer(damage)] = nullptr;
    EXPECT_ERROR(FromJson(bad), "vocab");
  }
  Json bad = file;
  bad["model"]["unk_id"] = 6;
  EXPECT_ERROR(FromJson(bad), "unk_id 6 is outside");
}

TEST(CharacterMap, ReplacesWhatItKnows) {
  const CharacterMap map(MapOfA(), "test");
  EXPECT_EQ(map.Apply("BAAb\u00C9A"), "Baab\u00C9a");
  EXPECT_EQ(map.Apply(""), "");
  EXPECT_ERROR(CharacterMap("", "test"), "too short");
  EXPECT_ERROR(CharacterMap(std::string(4, '\xff'), "test"), "trie of");
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::string damaged = MapOfA();
    for (int i = 0; i < 200; ++i) damaged[4 + random() % (damaged.size() - 4)] = static_cast<char>(random());
    CharacterMap(damaged, "test").Apply("BAAb\u00C9A zzz");
  }
}

TEST(CharacterMap, Base64) {
  for (const std::string text : {"", "a", "ab", "abc", "\xff\x01\x80z"})
    EXPECT_EQ(DecodeBase64(EncodeBase64(text), "test"), text);
  EXPECT_EQ(EncodeBase64("any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
  EXPECT_ERROR(DecodeBase64("a?b", "test"), "base64");
}

}  // namespace unigram_model_test
}  // namespace gptq
