#include <algorithm>
#include <numeric>

#include "report/fields.h"
#include "report/html.h"
#include "report/layer_table.h"
#include "report/plot.h"
#include "report/sections.h"

namespace gptq {
namespace {

std::string Over(const LayerTable& table, const std::string& title, const std::string& key,
                 const std::string& axis, bool logarithmic) {
  return Html({title, {"block", false}, {axis, logarithmic}, table.Series(key), false});
}

// A figure only where there is something to see.
std::string IfItVaries(const LayerTable& table, const std::string& title, const std::string& key,
                       const std::string& axis) {
  return table.Common(key) ? "" : Over(table, title, key, axis, false);
}

std::string Mean(const std::vector<double>& values) {
  if (values.empty()) return "–";
  return NumberText(std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()));
}

Facts FactsOf(const Json& result, const LayerTable& table) {
  Facts facts;
  const auto text = [&](const char* name, const char* path) {
    if (const auto value = TextIn(result, path)) facts.emplace_back(name, *value);
  };
  const auto number = [&](const char* name, const char* path, auto format) {
    if (const auto value = NumberIn(result, path)) facts.emplace_back(name, format(*value));
  };
  const auto count = [](double value) { return CountText(static_cast<int64_t>(value)); };
  text("model", "source");
  text("hash of its tensors", "source_hash");
  text("output", "output");
  text("method", "settings/--method");
  text("format", "settings/--format");
  number("bits per weight", "bits_per_weight", NumberText);
  facts.emplace_back("linears", CountText(std::ssize(table.layers())));
  if (const auto errors = table.Values("relative_error"); !errors.empty())
    facts.emplace_back("mean relative error of outputs", Mean(errors));
  number("calibration tokens", "calibration/tokens", count);
  number("calibration sequences", "calibration/samples", count);
  number("tokens of a sequence", "calibration/sequence_length", count);
  text("hash of the calibration", "calibration_hash");
  number("relative error of the written model's logits", "self_check/relative_error", NumberText);
  return facts;
}

std::vector<Bar> Bars(const Json& values, std::string (*text)(double)) {
  std::vector<Bar> bars;
  if (!values.is_object()) return bars;
  for (const auto& [name, value] : values.items()) {
    if (value.is_number()) bars.push_back({name, value.get<double>(), text(value.get<double>())});
  }
  std::ranges::stable_sort(bars, std::greater<>(), &Bar::value);
  return bars;
}

// What is the same everywhere, in words.
std::string Sentences(const LayerTable& table) {
  std::string text;
  if (const auto bits = table.Common("bits")) text += "Every linear has " + NumberText(*bits) + " bits. ";
  if (const auto damping = table.Common("damping"))
    text += "The damping is " + NumberText(*damping) + " of the mean diagonal everywhere. ";
  if (const auto dead = table.Common("dead_inputs"); dead && *dead == 0) text += "No input is always zero. ";
  const auto fallbacks = std::ranges::count_if(
      table.layers(), [](const Json& layer) { return TextIn(layer, "fallback").has_value(); });
  text += fallbacks == 0 ? "No linear needed a fallback."
                         : CountText(fallbacks) + " linears needed a fallback (see the table).";
  return Paragraph(text);
}

std::string Settings(const Json& result) {
  HtmlTable table{{"option", "value"}, {}};
  const Json& settings = FieldOf(result, "settings");
  if (!settings.is_object()) return "";
  for (const auto& [name, value] : settings.items()) {
    if (!name.starts_with("--") || value.is_null()) continue;
    table.rows.push_back({name, value.is_string() ? value.get<std::string>() : Dump(value)});
  }
  return Folded("all settings", Html(table));
}

std::string LayersTable(const LayerTable& layers) {
  HtmlTable table{{"linear", "shape", "bits", "group", "relative error", "loss", "damping", "dead inputs",
                   "outlier inputs", "tokens", "time", "fallback"},
                  {}};
  const auto number = [](const Json& layer, const char* key) {
    const auto value = NumberIn(layer, key);
    return value ? NumberText(*value) : std::string();
  };
  for (const Json& layer : layers.layers()) {
    table.rows.push_back(
        {TextIn(layer, "name").value_or("?"), number(layer, "rows") + " × " + number(layer, "columns"),
         number(layer, "bits"), number(layer, "group_size"), number(layer, "relative_error"),
         number(layer, "loss"), number(layer, "damping"), number(layer, "dead_inputs"),
         number(layer, "outlier_inputs"), number(layer, "tokens"),
         SecondsText(NumberIn(layer, "seconds").value_or(-1)), TextIn(layer, "fallback").value_or("")});
  }
  return Folded("all linears", Html(table));
}

// Inputs of outlying size as a share of a linear's inputs.
LayerTable WithShares(const Json& result) {
  Json shares = result;
  for (Json& layer : shares["layers"]) {
    const auto outliers = NumberIn(layer, "outlier_inputs"), columns = NumberIn(layer, "columns");
    if (outliers && columns && *columns > 0) layer["outlier_percent"] = 100 * *outliers / *columns;
  }
  return LayerTable(shares);
}

}  // namespace

std::string QuantizeSection(const Json& result) {
  const LayerTable table(result);
  if (table.layers().empty()) return Heading("Quantized") + FactsHtml(FactsOf(result, table));
  const LayerTable shares = WithShares(result);
  const std::string figures = FiguresHtml(
      {Over(table, "Relative error of each linear's output", "relative_error", "relative error", true),
       IfItVaries(table, "Bits", "bits", "bits"), IfItVaries(table, "Damping", "damping", "damping"),
       IfItVaries(shares, "Inputs of outlying size (6 times the median)", "outlier_percent", "% of inputs"),
       IfItVaries(table, "Inputs that are always zero", "dead_inputs", "inputs"),
       BarsHtml("Time of each stage", Bars(FieldOf(result, "stages"), SecondsText)),
       BarsHtml("Memory at the end of each stage, at most",
                Bars(FieldOf(result, "stage_memory_bytes"), BytesText))});
  return Heading("Quantized: " + FileName(TextIn(result, "output").value_or("a model"))) +
         FactsHtml(FactsOf(result, table)) + Sentences(table) + figures + Settings(result) +
         LayersTable(table);
}

}  // namespace gptq
