#include "text/bpe_model.h"

#include "tests/test_util.h"
#include "text/merger.h"

namespace gptq {
namespace bpe_model_test {

using Ids = std::vector<int32_t>;

Ids Encode(const SubwordModel& model, std::string_view piece) {
  WordCache cache;
  Ids ids;
  model.Encode(piece, cache, ids);
  Ids again;
  model.Encode(piece, cache, again);  // from the cache
  EXPECT_EQ(again, ids);
  return ids;
}

bool Same(const std::vector<Symbol>& a, const std::vector<Symbol>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Symbol& x, const Symbol& y) {
    return x.id == y.id && x.begin == y.begin && x.size == y.size;
  });
}

// Random merges of a few letters, so that they compete; ranks repeat, as SentencePiece's do.
TEST(Merger, HeapAndScanAgree) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    PairTable merges;
    const auto number = [&](int below) {
      return static_cast<int32_t>(random() % static_cast<uint32_t>(below));
    };
    for (int32_t joined = 4; joined < 40; ++joined) {
      merges.Insert(number(joined), number(joined), {static_cast<uint32_t>(number(20)), joined});
    }
    std::vector<Symbol> symbols;
    for (uint32_t i = 0; i < 1 + random() % 200; ++i) symbols.push_back({number(5) - 1, i, 1});
    std::vector<Symbol> scanned = symbols;
    MergeByScan(merges, scanned);
    MergeByHeap(merges, symbols);
    ASSERT_TRUE(Same(scanned, symbols)) << round;
  }
}

TEST(BpeModel, MergesByRankLeftmostFirst) {
  const Vocabulary vocabulary({"a", "b", "c", "bc", "ab", "abc", "aa"}, {});
  const BpeModel model(vocabulary, {{"b", "c"}, {"a", "b"}, {"ab", "c"}, {"a", "a"}}, {}, "test");
  EXPECT_EQ(Encode(model, "abc"), (Ids{0, 3}));  // "bc" goes first
  EXPECT_EQ(Encode(model, "aab"), (Ids{0, 4}));
  EXPECT_EQ(Encode(model, "aaa"), (Ids{6, 0}));
}

TEST(BpeModel, UnknownCharacters) {
  const std::vector<std::string> tokens = {"<unk>", "a", "b", "ab", "<0xC3>", "<0xA9>"};
  const Vocabulary vocabulary(tokens, {});
  const MergeList merges = {{"a", "b"}};
  EXPECT_EQ(Encode(BpeModel(vocabulary, merges, {}, "test"), "axb"), (Ids{3}));  // dropped before merging
  EXPECT_EQ(Encode(BpeModel(vocabulary, merges, {.unknown = 0}, "test"), "axxb"), (Ids{1, 0, 0, 2}));
  EXPECT_EQ(Encode(BpeModel(vocabulary, merges, {.fuse_unknown = true, .unknown = 0}, "test"), "axxb"),
            (Ids{1, 0, 2}));
  const BpeOptions bytes{.byte_fallback = true, .fuse_unknown = true, .unknown = 0};
  EXPECT_EQ(Encode(BpeModel(vocabulary, merges, bytes, "test"), "a\u00E9\u4E00b"), (Ids{1, 4, 5, 0, 2}));
}

TEST(BpeModel, UnknownRunsAreFusedAcrossLongPieces) {
  const Vocabulary vocabulary({"<unk>", "a"}, {});
  const BpeModel model(vocabulary, MergeList{}, {.fuse_unknown = true, .unknown = 0}, "test");
  EXPECT_EQ(Encode(model, std::string(200, 'x') + "a" + std::string(200, 'x')), (Ids{0, 1, 0}));
}

TEST(BpeModel, IgnoreMergesTakesWholeTokens) {
  const Vocabulary vocabulary({"a", "b", "ab", "abb"}, {});
  const MergeList merges = {{"a", "b"}};
  EXPECT_EQ(Encode(BpeModel(vocabulary, merges, {}, "test"), "abb"), (Ids{2, 1}));
  EXPECT_EQ(Encode(BpeModel(vocabulary, merges, {.ignore_merges = true}, "test"), "abb"), (Ids{3}));
}

TEST(BpeModel, RefusesMergesOfNoTokens) {
  const Vocabulary vocabulary({"a", "b"}, {});
  EXPECT_ERROR(BpeModel(vocabulary, MergeList({{"a", "b"}}), {}, "t.json"), "'ab'");
  EXPECT_ERROR(BpeModel(vocabulary, MergeList({{"a", "x"}}), {}, "t.json"), "t.json");
}

BpeModel FromScores(const Vocabulary& vocabulary, const std::vector<float>& scores,
                    std::vector<TokenKind> kinds = {}) {
  if (kinds.empty()) kinds.assign(scores.size(), TokenKind::kNormal);
  return BpeModel(vocabulary, scores, kinds, {.byte_fallback = true}, "test");
}

TEST(BpeModel, ScoresDecideNotIds) {
  const Vocabulary vocabulary({"a", "b", "c", "ab", "bc"}, {});
  EXPECT_EQ(Encode(FromScores(vocabulary, {0, 0, 0, -2, -1}), "abc"), (Ids{0, 4}));
  EXPECT_EQ(Encode(FromScores(vocabulary, {0, 0, 0, -1, -2}), "abc"), (Ids{3, 2}));
  EXPECT_EQ(Encode(FromScores(vocabulary, {0, 0, 0, -1, -1}), "abc"), (Ids{3, 2}));  // equal: leftmost
  EXPECT_ERROR(FromScores(vocabulary, {0, 0, NAN, 0, 0}), "not a number");
}

TEST(BpeModel, CharactersThatAreNoTokenStillJoin) {
  const Vocabulary vocabulary({"a", "ab", "<0x62>"}, {});
  EXPECT_EQ(Encode(FromScores(vocabulary, {0, -1, 0}), "abb"), (Ids{1, 2}));
}

TEST(BpeModel, UnusedTokensAreTakenApart) {
  const Vocabulary vocabulary({"a", "b", "ab"}, {});
  const std::vector<TokenKind> kinds = {TokenKind::kNormal, TokenKind::kNormal, TokenKind::kUnused};
  EXPECT_EQ(Encode(FromScores(vocabulary, {0, 0, -1}, kinds), "ab"), (Ids{0, 1}));
}

// Cutting a long piece where no merge crosses changes nothing.
TEST(BpeModel, LongPiecesEqualTheirMergesInOne) {
  const std::vector<std::string> tokens = {"a", "b", "c", "d", "ab", "abc", "cc", "ca", "aab", "dd"};
  const Vocabulary vocabulary(tokens, {});
  const std::vector<float> scores = {0, 0, 0, 0, -3, -1, -2, -4, -5, -6};
  const BpeModel model = FromScores(vocabulary, scores);
  PairTable merges;
  for (size_t id = 4; id < tokens.size(); ++id) {
    for (size_t cut = 1; cut < tokens[id].size(); ++cut) {
      const auto left = vocabulary.Find(tokens[id].substr(0, cut));
      const auto right = vocabulary.Find(tokens[id].substr(cut));
      if (left && right)
        merges.Insert(*left, *right, {static_cast<uint32_t>(-scores[id]), static_cast<int32_t>(id)});
    }
  }
  std::mt19937 random(2);
  for (int round = 0; round < 100; ++round) {
    std::string piece;
    std::vector<Symbol> symbols;
    for (uint32_t i = 0; i < 300; ++i) {
      const auto letter = static_cast<int32_t>(random() % 4);
      piece.push_back(static_cast<char>('a' + letter));
      symbols.push_back({letter, i, 1});
    }
    MergeByScan(merges, symbols);
    Ids expected;
    for (const Symbol& symbol : symbols) expected.push_back(symbol.id);
    ASSERT_EQ(Encode(model, piece), expected);
  }
}

TEST(BpeModel, OneLongRunIsNotQuadratic) {
  const Vocabulary vocabulary({"a", "aa", "aaaa"}, {});
  const BpeModel model(vocabulary, MergeList({{"a", "a"}, {"aa", "aa"}}), {}, "test");
  EXPECT_EQ(Encode(model, std::string(1'000'000, 'a')).size(), 250'000u);
}

}  // namespace bpe_model_test
}  // namespace gptq
