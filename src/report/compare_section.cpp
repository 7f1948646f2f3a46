#include "base/error.h"
#include "report/fields.h"
#include "report/html.h"
#include "report/plot.h"
#include "report/sections.h"

namespace gptq {
namespace {

Facts FactsOf(const Json& result) {
  Facts facts;
  for (const auto& [name, key] : {std::pair{"A, the reference", "model_a"}, {"B", "model_b"}}) {
    const Json& model = FieldOf(result, key);
    std::string text = TextIn(model, "path").value_or("");
    if (const auto bytes = NumberIn(model, "bytes")) text += ", " + BytesText(*bytes);
    if (const auto bits = NumberIn(model, "bits_per_weight"))
      text += ", " + NumberText(*bits) + " bits per weight";
    if (!text.empty()) facts.emplace_back(name, text);
  }
  if (const auto data = TextIn(result, "data")) facts.emplace_back("text", *data);
  if (const auto hash = TextIn(result, "text_hash")) facts.emplace_back("its hash", *hash);
  const auto tokens = NumberIn(result, "tokens"), windows = NumberIn(result, "windows"),
             length = NumberIn(result, "sequence_length");
  if (tokens && windows && length) {
    facts.emplace_back("tokens", CountText(static_cast<int64_t>(*tokens)) + " in " + NumberText(*windows) +
                                     " windows of " + NumberText(*length));
  }
  return facts;
}

std::string Measures(const Json& result) {
  HtmlTable table{{"measure", "value ± standard error"}, {}};
  const auto add = [&](const char* name, const char* key, const char* error = "") {
    if (const auto value = NumberIn(result, key))
      table.rows.push_back({name, MeasuredText(*value, NumberIn(result, error))});
  };
  const auto add_share = [&](const char* name, const char* key) {
    if (const auto value = NumberIn(result, key)) table.rows.push_back({name, PercentText(*value)});
  };
  add("perplexity of A", "perplexity_a", "perplexity_a_standard_error");
  add("perplexity of B", "perplexity_b", "perplexity_b_standard_error");
  add("perplexity of B / A", "perplexity_ratio", "perplexity_ratio_standard_error");
  add("KL divergence, mean (nats)", "kl_mean", "kl_standard_error");
  add("KL divergence, median", "kl_median");
  add("KL divergence, 99 %", "kl_p99");
  add("KL divergence, 99.9 %", "kl_p999");
  add_share("same most likely token", "top1_agreement");
  add_share("same five likeliest tokens", "top5_agreement");
  return Html(table);
}

std::string Blocks(const Json& result) {
  PlotSeries series{"relative error", {}, 0};
  for (const Json& block : ObjectsIn(result, "blocks")) {
    const auto number = NumberIn(block, "block"), error = NumberIn(block, "relative_error");
    if (number && error) series.points.push_back({*number, *error, Concat("block ", NumberText(*number))});
  }
  return FiguresHtml(
      {Html({"Relative error of each block's output", {"block"}, {"relative error"}, {series}, false})});
}

std::string WorstTokens(const Json& result) {
  HtmlTable table{{"KL", "after", "comes", "A expects", "B expects"}, {}};
  const auto with_probability = [](const Json& token, const char* text, const char* probability) {
    const auto value = NumberIn(token, probability);
    return TextIn(token, text).value_or("") + (value ? " (" + PercentText(*value) + ")" : "");
  };
  for (const Json& token : ObjectsIn(result, "worst_tokens")) {
    const auto divergence = NumberIn(token, "kl");
    if (!divergence || *divergence == 0) continue;
    table.rows.push_back({NumberText(*divergence), TextIn(token, "context").value_or(""),
                          TextIn(token, "token").value_or(""),
                          with_probability(token, "top_a", "top_probability_a"),
                          with_probability(token, "top_b", "top_probability_b")});
  }
  if (table.rows.empty()) return "";
  return Heading("Tokens that differ most") + "<div class=\"text\">" + Html(table) + "</div>\n";
}

}  // namespace

std::string CompareSection(const Json& result) {
  const std::string a = FileName(TextIn(result, "model_a/path").value_or("A"));
  const std::string b = FileName(TextIn(result, "model_b/path").value_or("B"));
  return Heading(b + " against " + a) + FactsHtml(FactsOf(result)) + Measures(result) + Blocks(result) +
         WorstTokens(result);
}

}  // namespace gptq
