#include "text/unicode.h"

#include "tests/test_util.h"
#include "text/byte_letters.h"

namespace gptq {
namespace unicode_test {

TEST(Unicode, DecodesEveryLengthAndEncodesItBack) {
  for (const char32_t value :
       {0x00u, 0x41u, 0x7Fu, 0x80u, 0x7FFu, 0x800u, 0xD7FFu, 0xE000u, 0xFFFFu, 0x10000u, 0x10FFFFu}) {
    std::string text;
    AppendUtf8(value, text);
    const CodePoint c = DecodeUtf8(text, 0);
    EXPECT_TRUE(c.valid);
    EXPECT_EQ(c.value, value);
    EXPECT_EQ(c.size, text.size());
  }
}

TEST(Unicode, RefusesOverlongFormsSurrogatesAndBeyondTheEnd) {
  for (const std::string text :
       {"\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xFF"}) {
    EXPECT_FALSE(IsValidUtf8(text));
  }
  EXPECT_TRUE(IsValidUtf8("a\u00E9\u4E00\U0001F642"));
}

// As Python's bytes.decode(errors="replace").
TEST(Unicode, ReplacesMaximalIllFormedSequences) {
  EXPECT_EQ(ToValidUtf8("a\xE4\xB8z"), "a\uFFFDz");
  EXPECT_EQ(ToValidUtf8("\xF0\x9F\x99"), "\uFFFD");
  EXPECT_EQ(ToValidUtf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(ToValidUtf8("\xC3\xC3\xA9"), "\uFFFD\u00E9");
}

TEST(Unicode, FindsAnUnfinishedCharacterAtTheEnd) {
  EXPECT_EQ(IncompleteTail(""), 0u);
  EXPECT_EQ(IncompleteTail("abc"), 0u);
  EXPECT_EQ(IncompleteTail("\u00E9"), 0u);
  EXPECT_EQ(IncompleteTail("a\xC3"), 1u);
  EXPECT_EQ(IncompleteTail("a\xF0\x9F\x99"), 3u);
  EXPECT_EQ(IncompleteTail("a\xE4\xB8"), 2u);
  EXPECT_EQ(IncompleteTail("\x80\x80\x80\x80"), 0u);
  EXPECT_EQ(IncompleteTail("\xED\xA0"), 0u);  // can never become a character
}

TEST(Unicode, Normalizes) {
  EXPECT_EQ(Normalize("e\u0301", NormalizationForm::kNfc), "\u00E9");
  EXPECT_EQ(Normalize("\u00E9", NormalizationForm::kNfd), "e\u0301");
  EXPECT_EQ(Normalize("\uFB01\u2116", NormalizationForm::kNfkc), "fiNo");
  EXPECT_EQ(Normalize("\uFB01", NormalizationForm::kNfc), "\uFB01");
  EXPECT_EQ(Normalize("\u1112\u1161\u11AB", NormalizationForm::kNfc), "\uD55C");
  EXPECT_EQ(Normalize(std::string("a\0\u00E9", 4), NormalizationForm::kNfd), std::string("a\0e\u0301", 5));
}

TEST(Unicode, KnowsItsClasses) {
  EXPECT_TRUE(IsNumeric('7') && IsNumeric(0x0663) && IsNumeric(0x00BD) && IsNumeric(0x216B));
  EXPECT_FALSE(IsNumeric('a') || IsNumeric(0x4E00));
  EXPECT_TRUE(IsPunctuation('$') && IsPunctuation('_') && IsPunctuation(0x2014) && IsPunctuation(0x3002));
  EXPECT_FALSE(IsPunctuation(' ') || IsPunctuation('a') || IsPunctuation(0x20AC));
  EXPECT_TRUE(IsWhiteSpace(0x85) && IsWhiteSpace(0xA0) && IsWhiteSpace(0x2028) && IsWhiteSpace(0x3000) &&
              IsWhiteSpace('\v'));
  EXPECT_FALSE(IsWhiteSpace(0x200B) || IsWhiteSpace(0xFEFF) || IsWhiteSpace(0x180E));
}

TEST(ByteLetters, AreOneToOne) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto b = static_cast<uint8_t>(byte);
    EXPECT_EQ(ByteOfLetter(ByteLetter(b)), b);
    const std::string one(1, static_cast<char>(b));
    EXPECT_EQ(LettersToBytes(BytesToLetters(one)), one);
  }
  EXPECT_EQ(BytesToLetters(" \n"), "\u0120\u010A");
  EXPECT_EQ(ByteLetter(0), 0x100u);
  EXPECT_EQ(ByteLetter(0xAD), 0x143u);
  EXPECT_FALSE(LettersToBytes("a b").has_value());
}

}  // namespace unicode_test
}  // namespace gptq
