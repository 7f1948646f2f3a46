#include "quant/options.h"

#include <functional>

#include "tests/test_util.h"

namespace gptq {
namespace options_test {

std::string UsageText(const std::function<void()>& action) {
  try {
    action();
  } catch (const UsageError& e) {
    return e.what();
  }
  return "";
}

std::string Problem(const std::function<void(SolverOptions&)>& change) {
  SolverOptions options;
  change(options);
  return UsageText([&] { Validate(options); });
}

TEST(Options, ErrorsNameTheOption) {
  using testing::HasSubstr;
  EXPECT_EQ(Problem([](SolverOptions&) {}), "");
  EXPECT_THAT(Problem([](SolverOptions& o) { o.bits = 9; }), HasSubstr("--bits 9"));
  EXPECT_THAT(Problem([](SolverOptions& o) { o.bits = 1; }), HasSubstr("--bits 1"));
  EXPECT_THAT(Problem([](SolverOptions& o) { o.group_size = 0; }), HasSubstr("--group-size 0"));
  EXPECT_THAT(Problem([](SolverOptions& o) { o.group_size = -2; }), HasSubstr("--group-size -2"));
  EXPECT_THAT(Problem([](SolverOptions& o) { o.damping = -0.1; }), HasSubstr("--damping"));
  EXPECT_THAT(Problem([](SolverOptions& o) { o.damping = 0.0 / 0.0; }), HasSubstr("--damping"));
  EXPECT_THAT(Problem([](SolverOptions& o) { o.block_size = 0; }), HasSubstr("--block-size"));
  EXPECT_THAT(Problem([](SolverOptions& o) {
                o.ternary = true;
                o.clip = Clip::kMse;
              }),
              HasSubstr("--clip"));
  EXPECT_THAT(UsageText([] { ParseOrder("sideways"); }), HasSubstr("--order sideways"));
  EXPECT_THAT(UsageText([] { ParseScaleType("int8"); }), HasSubstr("--scale-type int8"));
}

TEST(Options, NamesAndValuesAgree) {
  for (const Method method : {Method::kGptq, Method::kRoundToNearest})
    EXPECT_EQ(ParseMethod(Name(method)), method);
  for (const Order order : {Order::kNatural, Order::kActivation, Order::kGroup}) {
    EXPECT_EQ(ParseOrder(Name(order)), order);
  }
  for (const GroupGrid grid : {GroupGrid::kUpToDate, GroupGrid::kReference}) {
    EXPECT_EQ(ParseGroupGrid(Name(grid)), grid);
  }
  for (const Clip clip : {Clip::kNone, Clip::kMse}) EXPECT_EQ(ParseClip(Name(clip)), clip);
}

TEST(Options, BitsMayBeTernary) {
  SolverOptions options;
  SetBits("1.58", options);
  EXPECT_TRUE(options.ternary);
  EXPECT_EQ(BitsText(options), "1.58");
  SetBits("3", options);
  EXPECT_FALSE(options.ternary);
  EXPECT_EQ(options.bits, 3);
  for (const char* bad : {"", "1", "9", "10", "4.5", "x"}) {
    EXPECT_NE(UsageText([&] { SetBits(bad, options); }), "") << bad;
  }
}

TEST(Options, GroupsOfARow) {
  SolverOptions options;
  options.group_size = 128;
  EXPECT_EQ(options.GroupCount(256), 2);
  EXPECT_EQ(options.GroupCount(257), 3);
  EXPECT_EQ(options.GroupCount(5), 1);
  options.group_size = -1;
  EXPECT_EQ(options.GroupCount(257), 1);
  EXPECT_EQ(options.GroupColumns(257), 257);
}

}  // namespace options_test
}  // namespace gptq
