#include "workflow/stop_strings.h"

#include "tests/test_util.h"

namespace gptq {
namespace stop_strings_test {

// The text in pieces of `size` bytes.
std::string Shown(std::string_view text, size_t size, const std::vector<std::string>& strings,
                  bool* found = nullptr) {
  StopStrings stop(strings);
  std::string shown;
  for (size_t first = 0; first < text.size(); first += size) shown += stop.Next(text.substr(first, size));
  if (found != nullptr) *found = stop.found();
  return shown + stop.Finish();
}

TEST(StopStrings, TextEndsBeforeTheFirstOne) {
  for (size_t size = 1; size <= 20; ++size) {
    bool found = false;
    EXPECT_EQ(Shown("one, two, three", size, {"two"}, &found), "one, ");
    EXPECT_TRUE(found);
    EXPECT_EQ(Shown("one, two, three", size, {"three", ", t"}), "one");
    EXPECT_EQ(Shown("aaab", size, {"aab"}), "a");
    EXPECT_EQ(Shown("stop", size, {"stop"}), "");
  }
}

TEST(StopStrings, NothingIsLost) {
  for (size_t size = 1; size <= 20; ++size) {
    bool found = true;
    EXPECT_EQ(Shown("one, two, thre", size, {"three", "onetwo"}, &found), "one, two, thre");
    EXPECT_FALSE(found);
    EXPECT_EQ(Shown("anything", size, {}), "anything");
  }
}

TEST(StopStrings, HoldsBackNoMoreThanItMust) {
  StopStrings stop({"END"});
  EXPECT_EQ(stop.Next("text"), "text");
  EXPECT_EQ(stop.Next("s E"), "s ");
  EXPECT_EQ(stop.Next("N"), "");
  EXPECT_EQ(stop.Next("E"), "EN");
  EXPECT_EQ(stop.Next("ND more"), "");
  EXPECT_TRUE(stop.found());
  EXPECT_EQ(stop.Next("text"), "");
  EXPECT_EQ(stop.Finish(), "");
}

}  // namespace stop_strings_test
}  // namespace gptq
