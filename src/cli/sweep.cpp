#include "workflow/sweep.h"

#include <filesystem>

#include "cli/command.h"
#include "io/writable_file.h"
#include "report/html.h"
#include "report/report.h"
#include "workflow/task.h"

namespace gptq {
namespace {

struct SweepCommandOptions {
  SweepOptions sweep;
  std::vector<std::string> tasks;
  bool asymmetric = false;
};

std::pair<std::string, std::filesystem::path> ParseTask(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    throw UsageError(Concat("--task '", text, "' is not NAME=FILE"));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

// What is said of a text or a task in one column.
struct Column {
  const char* list;  // of the line
  size_t index;
  const char* key;
  const char* error;  // key of its standard error
  double factor = 1;
};

std::string Cell(const Json& line, const Column& column) {
  const Json& measures = line.at(column.list)[column.index];
  const auto number = [&](const char* key) {
    const auto value = measures.find(key);
    if (value == measures.end() || !value->is_number()) return std::optional<double>();
    return std::optional(column.factor * value->get<double>());
  };
  const auto value = number(column.key);
  return value ? MeasuredText(*value, number(column.error)) : "-";
}

// A table in Markdown: each measure with its standard error, accuracies in per cent.
std::string Table(const std::vector<Json>& lines) {
  std::string header = "| | bits per weight | MB |", rule = "|---|---|---|";
  std::vector<Column> columns;
  const auto add = [&](const Column& column, const std::string& title) {
    columns.push_back(column);
    header += Concat(" ", title, " |");
    rule += "---|";
  };
  const Json& first = lines.front();
  for (size_t i = 0; i < first.at("texts").size(); ++i) {
    const std::string name =
        std::filesystem::path(first.at("texts")[i].at("data").get<std::string>()).stem().string();
    add({"texts", i, "perplexity_b", "perplexity_b_standard_error"}, name + " perplexity");
    add({"texts", i, "perplexity_ratio", "perplexity_ratio_standard_error"}, "ratio");
    add({"texts", i, "kl_mean", "kl_standard_error"}, "KL");
  }
  for (size_t i = 0; i < first.at("tasks").size(); ++i) {
    const Json& task = first.at("tasks")[i];
    const bool bias = task.contains("stereotype_score");
    add({"tasks", i, bias ? "stereotype_score" : "accuracy", "standard_error", bias ? 1.0 : 100.0},
        task.at("task").get<std::string>());
  }
  std::string text = header + "\n" + rule + "\n";
  for (const Json& line : lines) {
    text += Concat("| ", line.at("name").get<std::string>()) +
            Format(" | %.2f | %.1f |", line.at("bits_per_weight").get<double>(),
                   line.at("bytes").get<double>() / 1e6);
    for (const Column& column : columns) text += Concat(" ", Cell(line, column), " |");
    text += "\n";
  }
  return text;
}

void RunSweep(const SweepCommandOptions& asked, CommandContext& context) {
  SweepOptions options = asked.sweep;
  for (const std::string& text : asked.tasks) options.tasks.push_back(ParseTask(text));
  for (const auto& [name, path] : options.tasks) {
    if (name != "crows_pairs" && name != "stereoset") FindTask(name);
  }
  if (options.texts.empty() && options.tasks.empty())
    throw UsageError("sweep has nothing to measure: give --data FILE, --task NAME=FILE or both");
  if (asked.asymmetric) options.given.quality.symmetric = false;
  const std::unique_ptr<Backend> backend = context.MakeBackend();
  const std::vector<Json> lines = Sweep(options, *backend, context.progress());
  const std::filesystem::path page = options.output / "report.html";
  WriteFileAtOnce(page, ReportPage(lines));
  context.SetResult({{"output", options.output.string()}, {"report", page.string()}, {"settings", lines}},
                    Table(lines));
}

void AddMeasures(CLI::App* command, SweepCommandOptions& options) {
  SweepOptions& sweep = options.sweep;
  CLI::Option* data =
      command->add_option("--data", sweep.texts, "Text file for perplexity and divergence; repeatable")
          ->take_all();
  CLI::Option* task =
      command->add_option("--task", options.tasks, "NAME=FILE: a task of `gptq evaluate`; repeatable")
          ->take_all();
  command->add_option("--windows", sweep.windows, "Of each text the first N windows; 0 = all")
      ->check(CLI::NonNegativeNumber)
      ->needs(data);
  command
      ->add_option("--sequence-length", sweep.sequence_length,
                   "Tokens of a window (default 2048, less where the model can less)")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 30));
  command->add_option("--examples", sweep.examples, "Of each task the first N; 0 = all")
      ->check(CLI::NonNegativeNumber)
      ->needs(task);
}

void AddQuality(CLI::App* command, SweepCommandOptions& options) {
  SweepOptions& sweep = options.sweep;
  sweep.methods = {"rtn", "gptq"};
  sweep.bits = {2, 3, 4};
  sweep.group_sizes = {128};
  command->add_option("--method", sweep.methods, "Methods, separated by commas")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--bits", sweep.bits, "Numbers of bits")->delimiter(',')->capture_default_str();
  command->add_option("--group-size", sweep.group_sizes, "Columns that share a scale; -1 = the whole row")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--recipe", sweep.given.quality.recipe, "As of `gptq quantize`, and what follows")
      ->check(CLI::IsMember({"default", "reference", "best"}))
      ->capture_default_str();
  command->add_flag("--asymmetric", options.asymmetric, "Each group has its own zero");
  command->add_option("--format", sweep.given.format, "gptq, gptq_v2, compressed-tensors or gguf")
      ->check(CLI::IsMember({"gptq", "gptq_v2", "compressed-tensors", "gguf"}));
  command->add_option("--calibration", sweep.given.calibration, ".txt, .jsonl or .safetensors");
  command->add_option("--samples", sweep.given.samples, "Calibration sequences")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--calibration-length", sweep.given.sequence_length, "Their tokens (default as there)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command->add_option("--seed", sweep.given.seed, "Of the choice of samples")->check(CLI::NonNegativeNumber);
  command->add_option("--architecture", sweep.given.architecture,
                      "Architecture file instead of the built-in ones");
}

}  // namespace

void AddSweepCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<SweepCommandOptions>();
  CLI::App* command = app.add_subcommand(
      "sweep", "Quantize a model in many settings and measure each: a table and a page of what bits buy");
  command->add_option("MODEL", options->sweep.model, "Model folder or .gguf file")->required();
  command
      ->add_option("--output", options->sweep.output,
                   "Folder for results.jsonl and report.html; the same command goes on with what is there")
      ->required();
  AddQuality(command, *options);
  AddMeasures(command, *options);
  command->add_flag("--keep-models", options->sweep.keep_models, "Leave the quantized models there, too");
  command->callback([options, &context] { RunSweep(*options, context); });
}

}  // namespace gptq
