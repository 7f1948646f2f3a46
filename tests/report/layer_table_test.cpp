#include "report/layer_table.h"

#include "tests/test_util.h"

namespace gptq {
namespace layer_table_test {

TEST(LayerTable, NamesAreParsed) {
  const auto check = [](const char* name, int64_t block, const char* kind) {
    const auto parsed = ParseLayerName(name);
    ASSERT_TRUE(parsed) << name;
    EXPECT_EQ(parsed->block, block);
    EXPECT_EQ(parsed->kind, kind);
  };
  check("model.layers.3.self_attn.q_proj", 3, "self_attn.q_proj");
  check("model.layers.12.mlp.experts.7.down_proj", 12, "mlp.experts.down_proj");
  check("h.0.mlp.c_proj", 0, "mlp.c_proj");
  EXPECT_FALSE(ParseLayerName("lm_head"));
  EXPECT_FALSE(ParseLayerName(""));
  EXPECT_FALSE(ParseLayerName("layers.99999999999999999999.q"));
}

TEST(LayerTable, SeriesAreMeansOfAKind) {
  const Json result{{"layers",
                     {{{"name", "l.0.q"}, {"bits", 4}, {"error", 0.1}},
                      {{"name", "l.0.experts.0.up"}, {"bits", 4}, {"error", 1}},
                      {{"name", "l.0.experts.1.up"}, {"bits", 4}, {"error", 3}},
                      {{"name", "l.1.q"}, {"bits", 4}, {"error", nullptr}},
                      {{"name", "l.2.q"}, {"bits", 4}, {"error", "bad"}},
                      {{"bits", 4}},
                      5}}};
  const LayerTable table(result);
  const std::vector<PlotSeries> series = table.Series("error");
  ASSERT_EQ(series.size(), 2u);
  EXPECT_EQ(series[0].name, "q");
  ASSERT_EQ(series[0].points.size(), 1u);
  EXPECT_EQ(series[1].points[0].y, 2);
  EXPECT_EQ(table.Common("bits"), 4);
  EXPECT_FALSE(table.Common("error"));
  EXPECT_FALSE(table.Common("missing"));
}

}  // namespace layer_table_test
}  // namespace gptq
