#include "model/config_rule.h"

#include "tests/test_util.h"

namespace gptq {
namespace config_rule_test {

Json Evaluate(const char* rule, const char* config) {
  const Json json = ParseJson(rule, "rule");
  CheckRule(json, "rule");
  return EvaluateRule(json, ParseJson(config, "config"), {"test", "field", "config"});
}

TEST(ConfigRule, Arithmetic) {
  EXPECT_EQ(Evaluate(R"({"key": "a.b", "times": {"key": "c"}})", R"({"a": {"b": 3}, "c": 4})"), 12);
  EXPECT_EQ(Evaluate(R"({"key": "a", "minus": {"key": "b"}})", R"({"a": 24, "b": 8})"), 16);
  EXPECT_EQ(Evaluate(R"({"key": "a", "over": {"key": "b"}})", R"({"a": 48, "b": 4})"), 12);
  EXPECT_EQ(Evaluate(R"({"key": "a", "over": 4})", R"({"a": 2})"), 0.5);
  EXPECT_EQ(Evaluate(R"({"key": "a", "default": null, "over": 4})", "{}"), Json());
  EXPECT_ERROR(Evaluate(R"({"key": "a", "over": {"key": "b"}})", R"({"a": 48, "b": 0})"), "divide");
  EXPECT_ERROR(Evaluate(R"({"key": "a", "over": 2})", R"({"a": "x"})"), "number");
  EXPECT_ERROR(Evaluate(R"({"key": "a", "minus": 1.5})", R"({"a": 2})"), "count");
  EXPECT_ERROR(Evaluate(R"({"key": "a", "less": 1})", R"({"a": 2})"), "not known");
}

// The share of a head that turns, times the head's width and rounded down, is the count again.
TEST(ConfigRule, QuotientsGiveTheirCountsBack) {
  for (int width = 1; width <= 512; ++width) {
    for (int count = 0; count <= width; ++count) {
      const Json quotient =
          EvaluateRule(Json{{"key", "a"}, {"over", width}}, Json{{"a", count}}, {"test", "field", "config"});
      ASSERT_EQ(static_cast<int>(width * quotient.get<double>()), count) << width;
    }
  }
}

TEST(ConfigRule, MapsListsEntryByEntry) {
  const char* rule = R"({"key": "a", "map": {"true": "x", "false": "y"}})";
  EXPECT_EQ(Evaluate(rule, R"({"a": [true, false, true]})"), (Json{"x", "y", "x"}));
  EXPECT_EQ(Evaluate(rule, R"({"a": false})"), "y");
  EXPECT_ERROR(Evaluate(rule, R"({"a": [1]})"), "does not know");
}

TEST(ConfigRule, ConditionsOnSeveralValues) {
  const Json none = ParseJson(R"({"a": {"not": [null, 0]}})", "condition");
  EXPECT_FALSE(ConditionHolds(none, ParseJson(R"({"a": 0})", "config")));
  EXPECT_FALSE(ConditionHolds(none, ParseJson("{}", "config")));
  EXPECT_TRUE(ConditionHolds(none, ParseJson(R"({"a": 3})", "config")));
}

}  // namespace config_rule_test
}  // namespace gptq
