#include "text/pre_tokenizer.h"

#include "tests/test_util.h"
#include "text/byte_letters.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/normalizer.h"
#include "text/regex.h"
#include "text/split.h"

namespace gptq {
namespace pre_tokenizer_test {

using Strings = std::vector<std::string>;

Strings Pieces(const Json& description, std::string_view text, bool at_start = true) {
  const PieceList pieces = PreTokenizer(description, "test").Apply(text, at_start);
  Strings result;
  for (size_t i = 0; i < pieces.size(); ++i) result.emplace_back(pieces[i]);
  return result;
}

Strings Matches(std::string_view pattern, std::string_view text) {
  const Regex regex(pattern, "test");
  Strings result;
  RegexMatcher(regex).FindAll(
      text, [&](Span span) { result.emplace_back(text.substr(span.begin, span.end - span.begin)); });
  return result;
}

Json SplitStage(const Json& pattern, const char* behavior, bool invert = false) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
}

TEST(Regex, WhiteSpaceIsUnicodesAndNoMore) {
  EXPECT_EQ(Matches(R"(\s)", "a\u0085b\u00A0c\u2028d\u3000e").size(), 4u);
  EXPECT_TRUE(Matches(R"(\s)", "\u180E\u200B\uFEFF").empty());
  EXPECT_TRUE(Matches(R"([^\s\p{L}])", "a \u0085\u00A0").empty());
}

TEST(Regex, NestedClassesAreUnions) {
  // BLOOM's pattern.
  EXPECT_EQ(Matches(R"( ?[^(\s|[.,!?])]+)", "Hi there, you (all)"), (Strings{"Hi", " there", " you", "all"}));
  EXPECT_EQ(ToPcre2Syntax(R"([a[b-c]d]\[)", "test"), R"([ab-cd]\[)");
  EXPECT_EQ(ToPcre2Syntax(R"(\p{Han}[\P{^Latin}\p{Lu}]\pL\p{)", "test"),
            R"(\p{sc:Han}[\P{^sc:Latin}\p{Lu}]\pL\p{)");
}

TEST(Regex, LineAnchorsAndEmptyMatches) {
  EXPECT_EQ(Matches("a$", "a\na"), (Strings{"a", "a"}));
  EXPECT_EQ(Matches(R"((?=(\d{3})+(?!\d)))", "1234567").size(), 2u);
  EXPECT_EQ(Matches("x*", "ax"), (Strings{"", "x"}));
  EXPECT_EQ(Matches("x*", ""), (Strings{""}));
}

TEST(Regex, RefusesWhatItCannotDo) {
  EXPECT_ERROR(Regex("a(b", "file.json"), "file.json");
  EXPECT_ERROR(Regex("[a&&b]", "file.json"), "intersection");
  EXPECT_ERROR(Regex("[a[^b]]", "file.json"), "negated class");
  EXPECT_ERROR(Regex("\\", "file.json"), "backslash");
  EXPECT_ERROR(Regex("[[:alpha", "file.json"), "POSIX");
}

TEST(Regex, GivesUpOnEndlessBacktracking) {
  const std::string text = std::string(60, 'a') + "-b";
  EXPECT_ERROR(Matches("(a+a+)+(a+a+)+[^a-]b", text + "b"), "gave up");
}

TEST(Split, Behaviors) {
  const Json dash = {{"String", "-"}};
  const char* text = "the-final--countdown";
  EXPECT_EQ(Pieces(SplitStage(dash, "Removed"), text), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(Pieces(SplitStage(dash, "Isolated"), text),
            (Strings{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(Pieces(SplitStage(dash, "MergedWithPrevious"), text),
            (Strings{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(Pieces(SplitStage(dash, "MergedWithNext"), text), (Strings{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(Pieces(SplitStage(dash, "Contiguous"), text), (Strings{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(Pieces(SplitStage({{"Regex", "[a-z]+"}}, "Removed", true), text),
            (Strings{"the", "final", "countdown"}));
  EXPECT_ERROR(Pieces(SplitStage(dash, "Sideways"), text), "Sideways");
}

TEST(PreTokenizer, Stages) {
  EXPECT_EQ(Pieces({{"type", "ByteLevel"}, {"add_prefix_space", false}}, "I'M I'm  a\n\n b"),
            (Strings{"I", "'", "M", "\u0120I", "'m", "\u0120", "\u0120a", "\u010A\u010A", "\u0120b"}));
  EXPECT_EQ(Pieces({{"type", "ByteLevel"}, {"use_regex", false}}, "a b"), (Strings{"\u0120a\u0120b"}));
  EXPECT_EQ(Pieces({{"type", "Digits"}, {"individual_digits", true}}, "a12"), (Strings{"a", "1", "2"}));
  EXPECT_EQ(Pieces({{"type", "Digits"}, {"individual_digits", false}}, "a12b"), (Strings{"a", "12", "b"}));
  EXPECT_EQ(Pieces({{"type", "Punctuation"}}, "a!?b"), (Strings{"a", "!", "?", "b"}));
  EXPECT_EQ(Pieces({{"type", "Whitespace"}}, "a, b"), (Strings{"a", ",", "b"}));
  EXPECT_EQ(Pieces({{"type", "WhitespaceSplit"}}, " a,  b"), (Strings{"a,", "b"}));
  EXPECT_EQ(
      Pieces({{"type", "Sequence"}, {"pretokenizers", {{{"type", "WhitespaceSplit"}}, {{"type", "Digits"}}}}},
             "a1 2"),
      (Strings{"a", "1", "2"}));
  EXPECT_EQ(Pieces(Json(), "a b"), (Strings{"a b"}));
  EXPECT_ERROR(Pieces({{"type", "UnicodeScripts"}}, "a"), "UnicodeScripts");
}

TEST(PreTokenizer, Metaspace) {
  const auto stage = [](const char* scheme, bool split) -> Json {
    return {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", scheme}, {"split", split}};
  };
  EXPECT_EQ(Pieces(stage("always", true), "a b"), (Strings{"\u2581a", "\u2581b"}));
  EXPECT_EQ(Pieces(stage("first", false), "a b", true), (Strings{"\u2581a\u2581b"}));
  EXPECT_EQ(Pieces(stage("first", false), "a b", false), (Strings{"a\u2581b"}));
  EXPECT_EQ(Pieces(stage("never", true), " a"), (Strings{"\u2581a"}));
}

TEST(GgufPreTokenizers, KnowTheirNames) {
  const Json llama3 = FindGgufPreTokenizer("llama-bpe", "", "test").pre_tokenizer;
  EXPECT_EQ(Pieces(llama3, "I'M 1234x\n\n a"),
            (Strings{"I", "'M", "\u0120", "123", "4", "x", "\u010A\u010A", "\u0120a"}));
  const Json qwen2 = FindGgufPreTokenizer("qwen2", "", "test").pre_tokenizer;
  EXPECT_EQ(Pieces(qwen2, "a 12"), (Strings{"a", "\u0120", "1", "2"}));
  const Json smollm = FindGgufPreTokenizer("smollm", "", "test").pre_tokenizer;
  EXPECT_EQ(Pieces(smollm, "x 12"), (Strings{"x", "\u0120", "1", "2"}));
  const Json falcon = FindGgufPreTokenizer("falcon", "", "test").pre_tokenizer;
  EXPECT_EQ(Pieces(falcon, "a12345!"), (Strings{"a", "123", "45", "!"}));
  const Json deepseek = FindGgufPreTokenizer("deepseek-llm", "", "test").pre_tokenizer;
  EXPECT_EQ(Pieces(deepseek, "ab 12,\nc"), (Strings{"ab", "\u0120", "1", "2", ",", "\u010A", "c"}));
}

// Words, contractions, numbers, marks, lines: what the rules do differently.
TEST(GgufPreTokenizers, CutAsTheirModelsDo) {
  const auto pieces = [](const char* pre, std::string_view text) {
    std::string joined;
    for (const std::string& piece : Pieces(FindGgufPreTokenizer(pre, "", "test").pre_tokenizer, text))
      joined += (joined.empty() ? "" : "|") + piece;
    return joined;
  };
  const char* text = "HelloWorld's 1234, a/b!\n\nx";
  const std::pair<const char*, const char*> cases[] = {
      {"gpt-2", "HelloWorld|'s|\u01201234|,|\u0120a|/|b|!|\u010A|\u010A|x"},
      {"starcoder", "HelloWorld|'s|\u0120|1|2|3|4|,|\u0120a|/|b|!|\u010A|\u010A|x"},
      {"glm4", "HelloWorld|'s|\u0120|123|4|,|\u0120a|/b|!\u010A\u010A|x"},
      {"qwen2", "HelloWorld|'s|\u0120|1|2|3|4|,|\u0120a|/b|!\u010A\u010A|x"},
      {"gpt-4o", "Hello|World's|\u0120|123|4|,|\u0120a|/b|!\u010A\u010A|x"},
      {"tekken", "Hello|World|'s|\u0120|1|2|3|4|,|\u0120a|/b|!\u010A\u010A|x"},
      {"deepseek-coder", "HelloWorld|'|s|\u0120|1|2|3|4|,|\u0120a|/|b|!|\u010A|\u010A|x"},
      {"deepseek-v3", "HelloWorld|'s|\u0120|123|4|,|\u0120a|/b|!\u010A\u010A|x"},
      {"bloom", "HelloWorld's|\u01201234|,|\u0120a/b|!\u010A\u010A|x"},
      {"viking", "HelloWorld's|\u0120|1|2|3|4|,|\u0120a/b|!\u010A\u010A|x"},
      {"bailingmoe", "HelloWorld|'s|\u0120|1|2|3|4|,|\u0120a|/b|!\u010A\u010A|x"},
      {"seed-coder", "HelloWorld|'s|\u0120|1|2|3|4|,|\u0120a|/b|!|\u010A\u010A|x"},
  };
  for (const auto& [pre, expected] : cases) EXPECT_EQ(pieces(pre, text), expected) << pre;
  // Of Hugging Face's engine with the patterns of the models' own files.
  const char* words = "HelloWorld's 12345 big  words, a/b!/\n\nx1234a\u4F60\u597DIt\uFF0C\u65E5\u3006";
  const std::pair<const char*, const char*> word_cases[] = {
      {"kimi-k2",
       "Hello|World's| |123|45| big| | words|,| a|/b|!/\n\n|x|123|4|a|\u4F60\u597D|It|\uFF0C|\u65E5|\u3006"},
      {"exaone-moe",
       "HelloWorld|'s| |1|2|3|4|5| big| | words|,| "
       "a|/b|!/\n|\n|x|1|2|3|4|a\u4F60\u597DIt|\uFF0C\u65E5\u3006"},
      {"jais-2",
       "HelloWorld|'s| |123|45| big| | words|,| a|/b|!/\n\n|x|123|4|a\u4F60\u597DIt|\uFF0C\u65E5\u3006"},
      {"minicpm5",
       "HelloWorld|'s| |123|45| big| | words|,| a|/b|!/\n\n|x|123|4|a\u4F60\u597DIt|\uFF0C\u65E5\u3006"},
      {"youtu",
       "Hello|World's| |1|2|3|4|5| big| | words|,| "
       "a|/b|!/\n\n|x|1|2|3|4|a|\u4F60\u597D|It|\uFF0C|\u65E5|\u3006"},
      {"tiny_aya",
       "Hello|World's| |12|345| big| | words|,| a|/b|!/\n\n|x|123|4|a\u4F60\u597D|It|\uFF0C\u65E5\u3006"},
      {"laguna",
       "HelloWorld|'s| |1|2|3|4|5| big| | words|,| "
       "a|/b|!/|\n\n|x|1|2|3|4|a\u4F60\u597DIt|\uFF0C\u65E5\u3006"},
      {"superbpe", "HelloWorld's |12|345| big  words, a/b!/\n\nx|1|234|a\u4F60\u597DIt\uFF0C\u65E5\u3006"},
  };
  for (const auto& [pre, expected] : word_cases)
    EXPECT_EQ(pieces(pre, words), BytesToLetters(expected)) << pre;
  // Words and spaces without an end to them are one piece of K-EXAONE's.
  std::string endless = "a";
  for (int i = 0; i < 100000; ++i) endless += " word";
  EXPECT_EQ(pieces("exaone-moe", endless + "."), BytesToLetters(endless + "|."));
  EXPECT_EQ(pieces("qwen35", "e\u0301a"), BytesToLetters("e\u0301a"));
  EXPECT_NE(pieces("qwen2", "e\u0301a"), BytesToLetters("e\u0301a"));
}

TEST(GgufPreTokenizers, AreNotGuessed) {
  EXPECT_ERROR(FindGgufPreTokenizer("", "llama", "m.gguf"), "tokenizer.ggml.pre");
  EXPECT_ERROR(FindGgufPreTokenizer("default", "llama", "m.gguf"), "m.gguf");
  EXPECT_ERROR(FindGgufPreTokenizer("brand-new", "gpt2", "m.gguf"), "brand-new");
  EXPECT_EQ(FindGgufPreTokenizer("", "gptneox", "m.gguf").normalizer["type"], "NFC");
}

TEST(Normalizer, Steps) {
  const auto normalize = [](const Json& description, std::string_view text) {
    return Normalizer(description, "test").Apply(text);
  };
  EXPECT_EQ(normalize(Json(), "A b"), "A b");
  EXPECT_EQ(normalize({{"type", "Lowercase"}}, "\u00C4B\u0130"), "\u00E4bi\u0307");
  EXPECT_EQ(normalize({{"type", "Strip"}}, " \u3000a b\u00A0"), "a b");
  EXPECT_EQ(normalize({{"type", "Strip"}, {"strip_left", false}}, " a "), " a");
  EXPECT_EQ(normalize({{"type", "Prepend"}, {"prepend", "_"}}, "a"), "_a");
  EXPECT_EQ(normalize({{"type", "Prepend"}, {"prepend", "_"}}, ""), "");
  EXPECT_EQ(normalize({{"type", "Replace"}, {"pattern", {{"String", "ab"}}}, {"content", "c"}}, "xabab"),
            "xcc");
  EXPECT_EQ(normalize({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}}, "a   b  "),
            "a b ");
  const Json accents = {{"type", "Sequence"},
                        {"normalizers", {{{"type", "NFD"}}, {{"type", "StripAccents"}}}}};
  EXPECT_EQ(normalize(accents, "\u00E9\u00FC"), "eu");
  EXPECT_ERROR(normalize({{"type", "Precompiled"}}, ""), "precompiled_charsmap");
  EXPECT_ERROR(normalize({{"type", "BertNormalizer"}}, ""), "BertNormalizer");
  EXPECT_ERROR(normalize({{"type", 3}}, ""), "'type' is not a string");
}

}  // namespace pre_tokenizer_test
}  // namespace gptq
