#include <algorithm>
#include <map>

#include "report/fields.h"
#include "report/html.h"
#include "report/plot.h"
#include "report/sections.h"

namespace gptq {
namespace {

struct Measured {
  double value = 0;
  std::optional<double> error;
};

// What was lost by one way of storing a model, from one or several results about it.
struct Run {
  std::string name, series;
  std::optional<double> bits, bytes;
  std::map<std::string, Measured> losses;  // by the measure's name
};

struct Measure {
  std::string name;
  bool plotted = true;
};

class Runs {
 public:
  void Add(const Json& result) {
    const std::string command = TextIn(result, "command").value_or("");
    if (command == "quantize") AddQuantize(result);
    if (command == "evaluate") AddEvaluate(result);
    if (command == "compare") AddCompare(result);
    if (command == "sweep") AddSweep(result);
  }

  const std::vector<Run>& runs() const { return runs_; }
  // In the order in which they came.
  const std::vector<Measure>& measures() const { return measures_; }

 private:
  // Results about the same path are about the same run.
  Run& Of(const std::string& path) {
    const auto [found, fresh] = places_.try_emplace(path, runs_.size());
    if (fresh) runs_.push_back({FileName(path), "", {}, {}, {}});
    return runs_[found->second];
  }

  void Note(Run& run, const Measure& measure, std::optional<double> value, std::optional<double> error) {
    if (!value) return;
    run.losses[measure.name] = {*value, error};
    if (std::ranges::find(measures_, measure.name, &Measure::name) == measures_.end())
      measures_.push_back(measure);
  }
  // What stands under `key` of a result and, beside it, under the key of its standard error.
  void Note(Run& run, const std::string& measure, const Json& result, const char* key, const char* error) {
    Note(run, {measure}, NumberIn(result, key), NumberIn(result, error));
  }

  static void SetSize(Run& run, const Json& model) {
    if (!run.bits) run.bits = NumberIn(model, "bits_per_weight");
    if (!run.bytes) run.bytes = NumberIn(model, "bytes");
  }

  void AddQuantize(const Json& result) {
    Run& run = Of(TextIn(result, "output").value_or("a model"));
    run.bits = NumberIn(result, "bits_per_weight");
    run.series = TextIn(result, "settings/--method").value_or("");
    double sum = 0, count = 0;
    for (const Json& layer : ObjectsIn(result, "layers")) {
      if (const auto error = NumberIn(layer, "relative_error")) sum += *error, ++count;
    }
    if (count > 0) Note(run, {"relative error of linears"}, sum / count, {});
  }

  void NoteEvaluation(Run& run, const Json& result, const std::string& of) {
    Note(run, "perplexity" + of, result, "perplexity", "perplexity_standard_error");
    Note(run, "accuracy" + of, result, "accuracy", "standard_error");
    Note(run, "normalized accuracy" + of, result, "accuracy_normalized",
         "accuracy_normalized_standard_error");
    Note(run, "stereotype score" + of, result, "stereotype_score", "standard_error");
  }

  void AddEvaluate(const Json& result) {
    Run& run = Of(TextIn(result, "model/path").value_or("a model"));
    SetSize(run, FieldOf(result, "model"));
    const std::string task = TextIn(result, "task").value_or("");
    const std::string data = FileName(TextIn(result, "data").value_or(""));
    NoteEvaluation(run, result, ", " + (task == "perplexity" ? data : task));
  }

  void NoteComparison(Run& run, const Json& result, const std::string& of) {
    Note(run, "KL divergence" + of, result, "kl_mean", "kl_standard_error");
    Note(run, "perplexity" + of, result, "perplexity_b", "perplexity_b_standard_error");
    Note(run, {"perplexity / reference's" + of, false}, NumberIn(result, "perplexity_ratio"),
         NumberIn(result, "perplexity_ratio_standard_error"));
  }

  void AddCompare(const Json& result) {
    const std::string of = ", " + FileName(TextIn(result, "data").value_or("a text"));
    Run& reference = Of(TextIn(result, "model_a/path").value_or("A"));
    SetSize(reference, FieldOf(result, "model_a"));
    Note(reference, "perplexity" + of, result, "perplexity_a", "perplexity_a_standard_error");
    Run& run = Of(TextIn(result, "model_b/path").value_or("B"));
    SetSize(run, FieldOf(result, "model_b"));
    NoteComparison(run, result, of);
  }

  void AddSweep(const Json& line) {
    Run& run = Of(TextIn(line, "name").value_or("a setting"));
    SetSize(run, line);
    run.series = TextIn(line, "method").value_or("as it is");
    Note(run, {"relative error of linears"}, NumberIn(line, "relative_error"), {});
    for (const Json& text : ObjectsIn(line, "texts"))
      NoteComparison(run, text, ", " + FileName(TextIn(text, "data").value_or("a text")));
    for (const Json& task : ObjectsIn(line, "tasks"))
      NoteEvaluation(run, task, ", " + TextIn(task, "task").value_or("a task"));
  }

  std::vector<Run> runs_;
  std::map<std::string, size_t> places_;
  std::vector<Measure> measures_;
};

Plot PlotOf(const Runs& runs, const std::string& measure) {
  std::map<std::string, PlotSeries> series;
  for (const Run& run : runs.runs()) series[run.series];
  for (size_t color = 0; auto& [name, one] : series) one.color = color++;
  for (const Run& run : runs.runs()) {
    const auto loss = run.losses.find(measure);
    if (!run.bits || loss == run.losses.end()) continue;
    PlotSeries& one = series[run.series];
    one.name = run.series.empty() ? "others" : run.series;
    one.points.push_back({*run.bits, loss->second.value, run.name, loss->second.error.value_or(0)});
  }
  const bool share = measure.find("accuracy") != std::string::npos;
  Plot plot{measure,
            {"bits per weight", true},
            {share ? "share" : measure.substr(0, measure.find(',')), !share},
            {},
            true};
  for (auto& [name, one] : series) plot.series.push_back(std::move(one));
  return plot;
}

HtmlTable TableOf(const Runs& runs) {
  HtmlTable table{{"run", "bits per weight", "size"}, {}};
  for (const Measure& measure : runs.measures()) table.header.push_back(measure.name);
  for (const Run& run : runs.runs()) {
    std::vector<std::string>& row = table.rows.emplace_back();
    row = {run.name, run.bits ? NumberText(*run.bits) : "", run.bytes ? BytesText(*run.bytes) : ""};
    for (const Measure& measure : runs.measures()) {
      const auto loss = run.losses.find(measure.name);
      row.push_back(loss == run.losses.end() ? "" : MeasuredText(loss->second.value, loss->second.error));
    }
  }
  return table;
}

}  // namespace

std::string RunsSection(const std::vector<Json>& results) {
  Runs runs;
  for (const Json& result : results) runs.Add(result);
  if (runs.runs().empty()) return "";
  std::vector<std::string> figures;
  for (const Measure& measure : runs.measures()) {
    if (measure.plotted) figures.push_back(Html(PlotOf(runs, measure.name)));
  }
  return "<section>\n" + Heading("What was lost against bits") +
         Paragraph(
             "± and the lines through the points are one standard error, tokens and examples taken as "
             "independent. Models on the same text rise and fall together: to compare two, look at the "
             "quotient of their perplexities, whose error is that of the differences token by token.") +
         FiguresHtml(figures) + Html(TableOf(runs)) + "</section>\n";
}

}  // namespace gptq
