#include "cli/command.h"
#include "workflow/model_files.h"
#include "workflow/perplexity.h"

namespace gptq {
namespace {

struct Options {
  std::string model, task = "perplexity", data, architecture;
  PerplexityOptions perplexity;
};

Json ToJson(const PerplexityResult& result, const PerplexityOptions& options) {
  return {{"task", "perplexity"},
          {"perplexity", result.perplexity},
          {"perplexity_standard_error", result.perplexity_standard_error},
          {"negative_log_likelihood", result.negative_log_likelihood},
          {"standard_error", result.standard_error},
          {"bits_per_byte", result.bits_per_byte},
          {"bits_per_word", result.bits_per_word},
          {"tokens", result.tokens},
          {"bytes", result.bytes},
          {"words", result.words},
          {"windows", result.windows},
          {"sequence_length", result.sequence_length},
          {"stride", result.stride},
          {"protocol", options.protocol},
          {"text_hash", HashName(result.text_hash)}};
}

std::string Describe(const PerplexityResult& result, const Options& options) {
  std::string windows = Concat(result.windows, " windows of ", result.sequence_length, " tokens");
  if (result.stride < result.sequence_length) windows += Concat(" every ", result.stride);
  return Format("perplexity %.4f +- %.4f (protocol %s, %s, %s tokens predicted, text %s %s)\n",
                result.perplexity, result.perplexity_standard_error, options.perplexity.protocol.c_str(),
                windows.c_str(), WithCommas(result.tokens).c_str(), HashName(result.text_hash).c_str(),
                std::filesystem::path(options.data).filename().c_str()) +
         Format(
             "negative log-likelihood %.5f +- %.5f nats per token, %.5f bits per byte, %.4f bits per word\n",
             result.negative_log_likelihood, result.standard_error, result.bits_per_byte,
             result.bits_per_word);
}

void Evaluate(const Options& options, CommandContext& context) {
  if (options.task != "perplexity")
    throw UsageError(Concat("--task ", options.task, " is not known; known is perplexity"));
  const std::string text = ReadTextFile(options.data);
  const std::unique_ptr<ModelFiles> model = ModelFiles::Open(options.model, options.architecture);
  const Tokenizer tokenizer = model->LoadTokenizer();
  const std::unique_ptr<Backend> backend = context.MakeBackend();
  const int64_t length = std::min(options.perplexity.sequence_length, model->spec().max_positions);
  // No tokenizer makes more tokens of a text: such a window would only cost memory.
  const auto most_tokens = static_cast<int64_t>(16 * text.size() + 64);
  if (length > most_tokens) {
    throw Error(
        Concat("the text of ", text.size(), " bytes is too short for one window of ", length, " tokens"),
        options.data, "give a longer text or a smaller --sequence-length");
  }
  const std::unique_ptr<Decoder> decoder = model->LoadDecoder(*backend, length);
  for (const std::string& warning : model->source().warnings()) context.progress().Warn(warning);
  const PerplexityResult result =
      MeasurePerplexity(*decoder, tokenizer, text, options.data, options.perplexity, context.progress());
  context.SetResult(ToJson(result, options.perplexity), Describe(result, options));
}

}  // namespace

void AddEvaluateCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("evaluate", "Measure how well a model predicts a text");
  command->add_option("MODEL", options->model, "Model folder or .gguf file")->required();
  command->add_option("--task", options->task, "perplexity");
  command->add_option("--data", options->data, "Text file")->required();
  command
      ->add_option("--sequence-length", options->perplexity.sequence_length,
                   "Tokens of a window, at most what the model can")
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
  command->add_option("--architecture", options->architecture,
                      "Architecture file instead of the built-in ones");
  command->callback([options, &context] { Evaluate(*options, context); });
}

}  // namespace gptq
