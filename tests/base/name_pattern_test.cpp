#include "base/name_pattern.h"

#include "tests/test_util.h"

namespace gptq {
namespace name_pattern_test {

NamePattern Pattern(std::string_view text) { return NamePattern::Parse(text).value(); }

TEST(NamePattern, MatchesTheWholeTheBeginningOrAPart) {
  EXPECT_TRUE(Pattern("model\\.[a-z]+").Matches("model.norm"));
  EXPECT_FALSE(Pattern("model").Matches("model.norm"));
  EXPECT_TRUE(Pattern("model").MatchesBeginning("model.norm"));
  EXPECT_FALSE(Pattern("norm").MatchesBeginning("model.norm"));
  EXPECT_TRUE(Pattern("norm").MatchesPart("model.norm"));
  EXPECT_FALSE(Pattern("^norm$").MatchesPart("model.norm"));
}

TEST(NamePattern, IsNothingForWhatIsNoExpression) {
  for (const char* text : {"(", "[", "*", "a{2,1}"}) EXPECT_FALSE(NamePattern::Parse(text)) << text;
  EXPECT_TRUE(NamePattern::Parse(std::string(1000, 'a')));
  EXPECT_FALSE(NamePattern::Parse(std::string(1001, 'a')));
}

TEST(NamePattern, LongNamesMatchNothing) {
  EXPECT_TRUE(Pattern(".*").Matches(std::string(1000, 'a')));
  EXPECT_FALSE(Pattern(".*").Matches(std::string(1001, 'a')));
  EXPECT_FALSE(Pattern("a").MatchesPart(std::string(10'000'000, 'a')));
}

}  // namespace name_pattern_test
}  // namespace gptq
