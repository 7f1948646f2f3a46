#include <algorithm>
#include <map>

#include "report/fields.h"
#include "report/html.h"
#include "report/plot.h"
#include "report/sections.h"

namespace gptq {
namespace {

// What was lost by one way of storing a model, from one or several results about it.
struct Run {
  std::string name, series;
  std::optional<double> bits, bytes;
  std::map<std::string, double> losses;  // by the measure's name
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
  const std::vector<std::string>& measures() const { return measures_; }

 private:
  // Results about the same path are about the same run.
  Run& Of(const std::string& path) {
    const auto [found, fresh] = places_.try_emplace(path, runs_.size());
    if (fresh) runs_.push_back({FileName(path), "", {}, {}, {}});
    return runs_[found->second];
  }

  void Note(Run& run, const std::string& measure, std::optional<double> value) {
    if (!value) return;
    run.losses[measure] = *value;
    if (std::ranges::find(measures_, measure) == measures_.end()) measures_.push_back(measure);
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
    if (count > 0) Note(run, "relative error of linears", sum / count);
  }

  void NoteEvaluation(Run& run, const Json& result, const std::string& of) {
    Note(run, "perplexity" + of, NumberIn(result, "perplexity"));
    Note(run, "accuracy" + of, NumberIn(result, "accuracy"));
    Note(run, "normalized accuracy" + of, NumberIn(result, "accuracy_normalized"));
    Note(run, "stereotype score" + of, NumberIn(result, "stereotype_score"));
  }

  void AddEvaluate(const Json& result) {
    Run& run = Of(TextIn(result, "model/path").value_or("a model"));
    SetSize(run, FieldOf(result, "model"));
    const std::string task = TextIn(result, "task").value_or("");
    const std::string data = FileName(TextIn(result, "data").value_or(""));
    NoteEvaluation(run, result, ", " + (task == "perplexity" ? data : task));
  }

  void NoteComparison(Run& run, const Json& result, const std::string& of) {
    Note(run, "KL divergence" + of, NumberIn(result, "kl_mean"));
    Note(run, "perplexity" + of, NumberIn(result, "perplexity_b"));
  }

  void AddCompare(const Json& result) {
    const std::string of = ", " + FileName(TextIn(result, "data").value_or("a text"));
    Run& reference = Of(TextIn(result, "model_a/path").value_or("A"));
    SetSize(reference, FieldOf(result, "model_a"));
    Note(reference, "perplexity" + of, NumberIn(result, "perplexity_a"));
    Run& run = Of(TextIn(result, "model_b/path").value_or("B"));
    SetSize(run, FieldOf(result, "model_b"));
    NoteComparison(run, result, of);
  }

  void AddSweep(const Json& line) {
    Run& run = Of(TextIn(line, "name").value_or("a setting"));
    SetSize(run, line);
    run.series = TextIn(line, "method").value_or("as it is");
    Note(run, "relative error of linears", NumberIn(line, "relative_error"));
    for (const Json& text : ObjectsIn(line, "texts"))
      NoteComparison(run, text, ", " + FileName(TextIn(text, "data").value_or("a text")));
    for (const Json& task : ObjectsIn(line, "tasks"))
      NoteEvaluation(run, task, ", " + TextIn(task, "task").value_or("a task"));
  }

  std::vector<Run> runs_;
  std::map<std::string, size_t> places_;
  std::vector<std::string> measures_;
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
    one.points.push_back({*run.bits, loss->second, run.name});
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
  table.header.insert(table.header.end(), runs.measures().begin(), runs.measures().end());
  for (const Run& run : runs.runs()) {
    std::vector<std::string>& row = table.rows.emplace_back();
    row = {run.name, run.bits ? NumberText(*run.bits) : "", run.bytes ? BytesText(*run.bytes) : ""};
    for (const std::string& measure : runs.measures()) {
      const auto loss = run.losses.find(measure);
      row.push_back(loss == run.losses.end() ? "" : NumberText(loss->second));
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
  for (const std::string& measure : runs.measures()) figures.push_back(Html(PlotOf(runs, measure)));
  return "<section>\n" + Heading("What was lost against bits") + FiguresHtml(figures) + Html(TableOf(runs)) +
         "</section>\n";
}

}  // namespace gptq
