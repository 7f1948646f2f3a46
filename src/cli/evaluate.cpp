#include "base/hash.h"
#include "cli/command.h"
#include "cli/context_option.h"
#include "cli/engine_options.h"
#include "cli/evaluation_results.h"
#include "cli/side_file.h"
#include "compute/peak.h"
#include "workflow/model_files.h"
#include "workflow/model_size.h"
#include "workflow/result_json.h"

namespace gptq {
namespace {

struct EvaluateCommandOptions {
  std::string model, task = "perplexity", data, architecture, task_file, details;
  int64_t examples = 0;
  int activation_bits = 32;
  bool measure_rate = false;
  PerplexityOptions perplexity;
  const CLI::Option* sequence_length = nullptr;
};

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

bool IsBias(const std::string& task) { return task == "crows_pairs" || task == "stereoset"; }

std::vector<TaskExample> LoadExamples(const Task& task, const EvaluateCommandOptions& options) {
  std::vector<TaskExample> examples = MakeExamples(task, ReadDataRows(options.data), options.data);
  if (options.examples > 0 && options.examples < static_cast<int64_t>(examples.size()))
    examples.resize(static_cast<size_t>(options.examples));
  return examples;
}

// The model is opened only when the data is known to be good.
class Evaluation {
 public:
  Evaluation(const EvaluateCommandOptions& options, CommandContext& context)
      : options_(options), context_(context) {}

  void Perplexity() {
    const std::string text = ReadTextFile(options_.data);
    Open();
    const int64_t length = LongestSequence();
    // No tokenizer makes more tokens of a text: such a window would only cost memory.
    const auto most_tokens = static_cast<int64_t>(16 * text.size() + 64);
    if (length > most_tokens) {
      throw Error(
          Concat("the text of ", text.size(), " bytes is too short for one window of ", length, " tokens"),
          options_.data, "give a longer text or a smaller --sequence-length");
    }
    const std::unique_ptr<Decoder> decoder = Load(length);
    const PerplexityResult result = MeasurePerplexity(*decoder, model_->LoadTokenizer(), text, options_.data,
                                                      options_.perplexity, context_.progress());
    Json json = ToJson(result, options_.perplexity);
    std::string description = Describe(result, options_.perplexity, options_.data);
    if (options_.measure_rate) description += MeasureRate(json);
    SetResult(std::move(json), std::move(description));
  }

  void ZeroShot() {
    const Task task = FindTask(options_.task, options_.task_file);
    const std::vector<TaskExample> examples = LoadExamples(task, options_);
    Open();
    const std::unique_ptr<Decoder> decoder = Load(LongestSequence());
    const TaskResult result =
        MeasureTask(*decoder, model_->LoadTokenizer(), task, examples, options_.data, context_.progress());
    if (!options_.details.empty()) context_.AddFile(options_.details, DetailLines(result));
    Json json = ToJson(result, task);
    json["data_hash"] = HashName(HashText(ReadTextFile(options_.data)));
    SetResult(std::move(json), Describe(result, task));
  }

  void Bias() {
    const BiasSet set = options_.task == "stereoset" ? BiasSet::kStereoSet : BiasSet::kCrowsPairs;
    std::vector<BiasExample> examples = ReadBiasExamples(set, options_.data);
    if (options_.examples > 0 && options_.examples < static_cast<int64_t>(examples.size()))
      examples.resize(static_cast<size_t>(options_.examples));
    Open();
    const std::unique_ptr<Decoder> decoder = Load(LongestSequence());
    const BiasResult result =
        MeasureBias(*decoder, model_->LoadTokenizer(), set, examples, options_.data, context_.progress());
    Json json = ToJson(result);
    json["task"] = options_.task;
    json["data_hash"] = HashName(HashText(ReadTextFile(options_.data)));
    SetResult(std::move(json), Describe(result));
  }

 private:
  // The run's speed beside what the machine's matrix products reach just after it.
  std::string MeasureRate(Json& json) {
    const double peak = MeasurePeak(backend_->pool()).gemm_flops_per_second;
    const double rate = json.at("flops_per_second").get<double>();
    json["matrix_product_flops_per_second"] = peak;
    json["share_of_matrix_products"] = rate / peak;
    return Format("%.1f GFLOP/s, %.1f %% of the rate of float32 matrix products (%.1f GFLOP/s)\n", rate / 1e9,
                  100 * rate / peak, peak / 1e9);
  }
  void SetResult(Json json, std::string text) {
    json["model"] = SizeJson(*model_);
    json["activation_bits"] = options_.activation_bits;
    json["data"] = options_.data;
    context_.SetResult(std::move(json), std::move(text));
  }
  void Open() {
    model_ = ModelFiles::Open(options_.model, options_.architecture);
    backend_ = context_.MakeBackend();
  }
  // Of a window. Examples of tasks are short; longer ones lose their beginning.
  int64_t LongestSequence() const {
    return ContextFor(*model_, options_.perplexity.sequence_length, *options_.sequence_length);
  }
  std::unique_ptr<Decoder> Load(int64_t max_tokens) {
    std::unique_ptr<Decoder> decoder = model_->LoadEngine(*backend_, max_tokens, options_.activation_bits);
    for (const std::string& warning : model_->source().warnings()) context_.progress().Warn(warning);
    return decoder;
  }

  const EvaluateCommandOptions& options_;
  CommandContext& context_;
  std::unique_ptr<ModelFiles> model_;
  std::unique_ptr<Backend> backend_;
};

// Refuses options of another kind of task.
void CheckApplies(const CLI::App& command, const std::string& task) {
  const auto need = [&](bool applies, std::initializer_list<const char*> options, const char* what) {
    for (const char* option : options) {
      if (!applies && command.get_option(option)->count() > 0)
        throw UsageError(Concat(option, " goes with ", what, ", not with --task ", task));
    }
  };
  const bool perplexity = task == "perplexity";
  need(perplexity, {"--windows", "--stride", "--protocol", "--measure-rate"}, "--task perplexity");
  need(!perplexity, {"--examples"}, "tasks of examples");
  need(!perplexity && !IsBias(task), {"--details", "--task-file"}, "zero-shot tasks");
}

void Evaluate(const CLI::App& command, const EvaluateCommandOptions& options, CommandContext& context) {
  CheckApplies(command, options.task);
  CheckReport(command, context);
  if (!options.details.empty())
    CheckSideFile(command, {"--details", options.details, "an earlier --details", IsDetailLines});
  Evaluation evaluation(options, context);
  if (options.task == "perplexity") {
    evaluation.Perplexity();
  } else if (IsBias(options.task)) {
    evaluation.Bias();
  } else {
    evaluation.ZeroShot();
  }
}

}  // namespace

void AddEvaluateCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<EvaluateCommandOptions>();
  CLI::App* command = app.add_subcommand(
      "evaluate", "Measure how well a model predicts a text, answers, or prefers stereotypes");
  command->add_option("MODEL", options->model, "Model folder or .gguf file")->required();
  command->add_option(
      "--task", options->task,
      "perplexity, crows_pairs, stereoset, or a zero-shot task: " + Joined(BuiltInTaskNames()));
  command->add_option("--data", options->data, "Text file; for tasks .jsonl, .json or .csv")->required();
  command->add_option("--examples", options->examples, "Of a task the first N; 0 = all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--task-file", options->task_file,
                      "JSON file that describes the task, as data/tasks.json");
  command->add_option("--details", options->details,
                      "File to write: one JSON line for each example of a task");
  options->sequence_length = command
                                 ->add_option("--sequence-length", options->perplexity.sequence_length,
                                              "Tokens of a window; less where the model can less")
                                 ->check(CLI::Range(int64_t{2}, int64_t{1} << 30))
                                 ->capture_default_str();
  command->add_option("--windows", options->perplexity.windows, "The first N windows; 0 = all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--protocol", options->perplexity.protocol, "gptq or llama.cpp")
      ->check(CLI::IsMember({"gptq", "llama.cpp"}))
      ->capture_default_str();
  command
      ->add_option("--stride", options->perplexity.stride,
                   "Begin a window every N tokens and count of each only what is new in it (default: the "
                   "windows' length)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  AddActivationBitsOption(command, options->activation_bits);
  command->add_option("--architecture", options->architecture,
                      "Architecture file instead of the built-in ones");
  command->add_flag(
      "--measure-rate", options->measure_rate,
      "With perplexity: measure the machine's matrix products, too, and tell the run's share of "
      "their rate");
  AddReportOption(command, context);
  command->callback([command, options, &context] { Evaluate(*command, *options, context); });
}

}  // namespace gptq
