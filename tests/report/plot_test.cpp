#include "report/plot.h"

#include <cmath>

#include "report/plot_scale.h"
#include "tests/test_util.h"

namespace gptq {
namespace plot_test {

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(PlotScale, SpreadsValues) {
  const PlotScale linear(10, 20, false, 0, 100);
  EXPECT_NEAR(linear.At(15), 50, 1e-9);
  EXPECT_NEAR(linear.At(20) - linear.At(10), 100 / 1.1, 1e-9);
  const PlotScale logarithmic(1, 100, true, 200, 0);
  EXPECT_NEAR(logarithmic.At(10), 100, 1e-9);
  EXPECT_GT(logarithmic.At(1), logarithmic.At(100));
}

TEST(PlotScale, MarksAreRoundAndInside) {
  EXPECT_THAT(PlotScale(0, 10, false, 0, 1).Marks(5), testing::ElementsAre(0, 5, 10));
  EXPECT_THAT(PlotScale(1, 1000, true, 0, 1).Marks(5), testing::ElementsAre(1, 10, 100, 1000));
  for (const bool logarithmic : {false, true}) {
    for (const auto& [low, high] :
         {std::pair{1e-9, 1e9}, {0.5, 0.5}, {3.0, 3.0000001}, {2.0, 16.0}, {1e300, 1e301}}) {
      const PlotScale scale(low, high, logarithmic, 0, 1);
      const std::vector<double> marks = scale.Marks(5);
      EXPECT_FALSE(marks.empty()) << low << " " << high;
      EXPECT_LE(marks.size(), 12u) << low << " " << high;
      for (const double mark : marks) {
        EXPECT_GE(scale.At(mark), -1e-6);
        EXPECT_LE(scale.At(mark), 1 + 1e-6);
      }
    }
  }
}

TEST(Plot, DrawsEachPointOnce) {
  const Plot plot{"error <i>",
                  {"block"},
                  {"error", true},
                  {{"q", {{2, 0.1, "third"}, {0, 0.2, "first"}}}, {"k & v", {{1, 0.3, ""}}}}};
  const std::string html = Html(plot);
  EXPECT_EQ(Count(html, "<circle"), 3);
  EXPECT_EQ(Count(html, "<polyline"), 2);
  EXPECT_EQ(Count(html, "<i>"), 0);
  EXPECT_LT(html.find("first: 0.2"), html.find("third: 0.1")) << "in the order of x";
  EXPECT_NE(html.find("k &amp; v"), std::string::npos);
}

TEST(Plot, LeavesOutWhatCannotBeDrawn) {
  EXPECT_EQ(Html(Plot{"title", {"x"}, {"y"}, {}}), "");
  EXPECT_EQ(Html(Plot{"title", {"x"}, {"y"}, {{"a", {{NAN, 1, ""}, {1, INFINITY, ""}}}}}), "");
  const std::string html =
      Html(Plot{"title", {"x", true}, {"y", true}, {{"a", {{0, 0, ""}, {1, NAN, ""}, {2, -1, ""}}}}});
  EXPECT_EQ(Count(html, "<circle"), 2) << "values that have no logarithm make the axis linear";
  EXPECT_EQ(html.find("nan"), std::string::npos);
  EXPECT_EQ(html.find("inf"), std::string::npos);
}

TEST(Plot, LogarithmicAxesLeaveOutWhatHasNoLogarithm) {
  const std::string html =
      Html(Plot{"title", {"x"}, {"y", true}, {{"a", {{0, 0, ""}, {1, 1e-9, ""}, {2, 1e7, ""}}}}});
  EXPECT_EQ(Count(html, "<circle"), 2);
  EXPECT_NE(html.find(">1e-8<"), std::string::npos) << html;
}

TEST(Plot, DrawsErrors) {
  const auto drawn = [](bool logarithmic, double y, double error) {
    const std::vector<PlotPoint> points{{1, y, "", error}, {2, 2, ""}};
    const std::string html = Html(Plot{"title", {"x"}, {"y", logarithmic}, {{"a", points}}});
    EXPECT_EQ(html.find("nan"), std::string::npos) << html;
    EXPECT_EQ(html.find("inf"), std::string::npos) << html;
    return Count(html.substr(html.find("<g class=\"series")), "<line");
  };
  for (const bool logarithmic : {false, true}) {
    EXPECT_EQ(drawn(logarithmic, 1, 0.5), 1);
    EXPECT_EQ(drawn(logarithmic, 1, 5), 1) << "larger than the value";
    EXPECT_EQ(drawn(logarithmic, 1, 0), 0);
    EXPECT_EQ(drawn(logarithmic, 1, NAN), 0);
    EXPECT_EQ(drawn(logarithmic, 1, INFINITY), 0);
  }
  EXPECT_EQ(drawn(true, 1e-9, 1), 0) << "no number holds its end";
  const std::string html = Html(Plot{"title", {"x"}, {"y"}, {{"a", {{1, 2, "name", 0.25}}}}});
  EXPECT_NE(html.find("name: 2.000 ± 0.250"), std::string::npos) << html;
}

TEST(Plot, ColoursAreGivenOrByOrder) {
  const std::vector<PlotSeries> series{{"empty", {}, 1}, {"a", {{1, 1, ""}}, 5}};
  EXPECT_NE(Html(Plot{"title", {"x"}, {"y"}, series, true}).find("<g class=\"series c5\">"),
            std::string::npos);
  EXPECT_NE(Html(Plot{"title", {"x"}, {"y"}, series, false}).find("<g class=\"series c0\">"),
            std::string::npos);
}

TEST(Plot, Bars) {
  const std::string html =
      BarsHtml("time", {{"a", 3, "3 s"}, {"b", 0, "0 s"}, {"c", NAN, "?"}, {"d", -1, "?"}});
  EXPECT_EQ(Count(html, "<rect"), 2);
  EXPECT_EQ(BarsHtml("time", {}), "");
}

}  // namespace plot_test
}  // namespace gptq
