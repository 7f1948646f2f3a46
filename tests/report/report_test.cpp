#include "report/report.h"

#include "tests/test_util.h"

namespace gptq {
namespace report_test {

Json Quantized() {
  Json layers = Json::array();
  for (int block = 0; block < 3; ++block) {
    layers.push_back({{"name", "model.layers." + std::to_string(block) + ".self_attn.q_proj"},
                      {"rows", 8},
                      {"columns", 16},
                      {"bits", block == 0 ? 8 : 4},
                      {"group_size", 4},
                      {"relative_error", 0.1 * (block + 1)},
                      {"loss", 1.0},
                      {"damping", 0.01},
                      {"seconds", 1},
                      {"tokens", 10},
                      {"dead_inputs", block},
                      {"outlier_inputs", 2 * block},
                      {"fallback", nullptr}});
  }
  return {{"command", "quantize"},
          {"arguments", {"quantize", "a model", "--bits=4"}},
          {"version", "0"},
          {"seconds", 12},
          {"peak_memory_bytes", 1e9},
          {"output", "out/q4"},
          {"source", "model"},
          {"bits_per_weight", 4.5},
          {"settings", {{"--method", "gptq"}, {"--bits", 4}}},
          {"layers", layers},
          {"stages", {{"forward", 3}, {"hessian", 2}}},
          {"stage_memory_bytes", {{"forward", 3e8}}}};
}

Json Compared() {
  return {{"command", "compare"},
          {"model_a", {{"path", "model"}, {"bits_per_weight", 16}, {"bytes", 1000}}},
          {"model_b", {{"path", "out/q4"}}},
          {"data", "dir/text.txt"},
          {"kl_mean", 0.01},
          {"kl_p999", 0.5},
          {"perplexity_a", 10},
          {"perplexity_b", 11},
          {"blocks", {{{"block", 0}, {"relative_error", 0.1}}}},
          {"worst_tokens",
           {{{"kl", 2.5},
             {"context", "<script>alert(1)</script>"},
             {"token", " a"},
             {"top_a", "b"},
             {"top_probability_a", 0.5},
             {"top_b", "c"}}}}};
}

bool Has(const std::string& page, const std::string& part) { return page.find(part) != std::string::npos; }

TEST(Report, SaysWhatWasDone) {
  const std::string page = ReportPage({Quantized()});
  for (const char* part :
       {"gptq quantize &#39;a model&#39; --bits=4", "12.0 s", "1.00 GB", "self_attn.q_proj",
        "Relative error of each linear", "Time of each stage", "Memory at the end", "Bits",
        "Inputs of outlying size", "always zero", "No linear needed a fallback", "damping is 0.01"})
    EXPECT_TRUE(Has(page, part)) << part;
}

TEST(Report, NeedsNothingElse) {
  const std::string page = ReportPage({Quantized(), Compared()});
  for (const char* part : {"http:", "https:", "src=", "href=", "<script", "@import", "url("})
    EXPECT_FALSE(Has(page, part)) << part;
  EXPECT_TRUE(Has(page, "prefers-color-scheme: dark"));
  EXPECT_TRUE(Has(page, "width=device-width"));
  EXPECT_TRUE(Has(page, "&lt;script&gt;alert(1)"));
}

TEST(Report, RunsAreJoinedByTheirModel) {
  const std::string page = ReportPage({Quantized(), Compared()});
  EXPECT_TRUE(Has(page, "<td>q4</td><td>4.5</td><td></td><td>0.2</td><td>11</td><td>0.01</td>") ||
              Has(page, "<td>q4</td><td>4.5</td><td></td><td>0.2</td>"))
      << page;
  EXPECT_TRUE(Has(page, "<td>model</td><td>16</td><td>1.0 kB</td>"));
  EXPECT_TRUE(Has(page, "KL divergence, text.txt"));
}

TEST(Report, SweepLines) {
  const Json line{{"command", "sweep"},
                  {"name", "gptq-b4-g128"},
                  {"method", "gptq"},
                  {"bits_per_weight", 4.2},
                  {"bytes", 5e7},
                  {"texts",
                   {{{"data", "a.txt"},
                     {"kl_mean", 0.1},
                     {"kl_standard_error", 0.004},
                     {"perplexity_b", 20},
                     {"perplexity_b_standard_error", 1.5},
                     {"perplexity_ratio", 1.1},
                     {"perplexity_ratio_standard_error", 0.0123}}}},
                  {"tasks", {{{"task", "piqa"}, {"accuracy", 0.6}, {"standard_error", 0.05}}}}};
  const std::string page = ReportPage({line, line});
  for (const char* part : {"<td>20.00 ± 1.50</td>", "<td>1.100 ± 0.012</td>", "<td>0.1000 ± 0.0040</td>",
                           "<td>0.600 ± 0.050</td>", "gptq-b4-g128: 0.600 ± 0.050", "one standard error"})
    EXPECT_TRUE(Has(page, part)) << part;
  EXPECT_TRUE(Has(page, "accuracy, piqa"));
  EXPECT_TRUE(Has(page, "<td>gptq-b4-g128</td><td>4.2</td><td>50.0 MB</td>"));
}

TEST(Report, EvaluationsHaveErrors) {
  const std::string page = ReportPage({{{"command", "evaluate"},
                                        {"task", "lambada"},
                                        {"accuracy", 0.3},
                                        {"standard_error", 0.046},
                                        {"perplexity", 40},
                                        {"perplexity_standard_error", 5}}});
  EXPECT_TRUE(Has(page, "<dd>30.00 % ± 4.60 %</dd>")) << page;
  EXPECT_TRUE(Has(page, "<dd>40.00 ± 5.00</dd>"));
}

TEST(Report, WrongTypesAreLeftOut) {
  const Json strange{{"command", "quantize"},  {"layers", {{{"name", 5}}, "x", nullptr}},
                     {"stages", {{"a", "b"}}}, {"arguments", "x"},
                     {"seconds", "long"},      {"settings", 3}};
  EXPECT_TRUE(Has(ReportPage({strange}), "</html>"));
  for (const char* command : {"quantize", "evaluate", "compare", "sweep", "other"}) {
    const Json empty{{"command", command}};
    EXPECT_TRUE(Has(ReportPage({empty}), "</html>"));
    EXPECT_TRUE(Has(ReportPage({empty, empty}), "</html>"));
  }
  Json holes = Compared();
  holes["blocks"] = {{{"block", 0}}};
  holes["worst_tokens"] = {{{"kl", "x"}}, 3};
  EXPECT_TRUE(Has(ReportPage({holes}), "</html>"));
}

TEST(Results, AreObjectsOrLines) {
  EXPECT_EQ(ParseResults("{\"command\": \"compare\", \"kl_mean\": 0}\n", "a").size(), 1u);
  EXPECT_EQ(ParseResults("{\n \"command\":\n \"compare\", \"kl_mean\": 0}", "a").size(), 1u);
  const std::string line = Dump({{"command", "sweep"}, {"texts", Json::array()}, {"tasks", Json::array()}});
  EXPECT_EQ(ParseResults(line + "\n\n" + line + "\n", "a").size(), 2u);
  EXPECT_EQ(ParseResults("{\"command\": \"sweep\", \"settings\": [" + line + "," + line + "]}", "a").size(),
            2u);
  EXPECT_ERROR(ParseResults("", "file"), "file");
  EXPECT_ERROR(ParseResults("{\"a\": 1}", "file"), "not a result");
  EXPECT_ERROR(ParseResults(line + "\n{\"command\"", "file"), "line 2");
  EXPECT_ERROR(ParseResults("[1]", "file"), "file");
}

TEST(Results, SaySomething) {
  for (const char* command : {"quantize", "evaluate", "compare", "sweep"}) {
    EXPECT_ERROR(ParseResults(Dump({{"command", command}}), "file"), "nothing was measured, file");
  }
  EXPECT_ERROR(ParseResults("{\"command\": \"generate\"}", "file"), "no page about a result of `generate`");
  EXPECT_EQ(ParseResults("{\"command\": \"evaluate\", \"accuracy\": 0.5}", "a").size(), 1u);
}

TEST(Results, ASweepsSettingsAreNone) {
  EXPECT_TRUE(ParseResults(R"({"texts": [], "tasks": [], "calibration_length": 64})", "a").empty());
}

TEST(Report, KnowsItsPages) {
  EXPECT_TRUE(IsReportPage(ReportPage({Quantized()})));
  EXPECT_TRUE(IsReportPage(ReportPage({Quantized(), Compared()})));
  EXPECT_FALSE(IsReportPage("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<title>gptq</title>"));
  EXPECT_FALSE(IsReportPage(""));
}

}  // namespace report_test
}  // namespace gptq
