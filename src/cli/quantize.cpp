#include "workflow/quantize.h"

#include "cli/command.h"
#include "cli/solver_options.h"

namespace gptq {
namespace {

struct Options {
  QuantizeOptions quantize;
  GivenSolverOptions solver;
  std::string format, token_weighting = "none";
  std::vector<std::string> bits_for;
  std::optional<int64_t> sink_sequences;
};

// Longer ones exhaust the stack of the regular expression compiler.
void CheckPattern(const char* option, const std::string& text) {
  constexpr size_t kLongest = 1000;
  if (text.size() > kLongest)
    throw UsageError(Concat(option, ": a regular expression of more than ", kLongest, " characters"));
}

std::pair<std::string, int> ParseBitsFor(const std::string& text) {
  const size_t equals = text.rfind('=');
  SolverOptions bits;
  if (equals == std::string::npos) throw UsageError(Concat("--bits-for '", text, "' is not REGEX=BITS"));
  CheckPattern("--bits-for", text);
  try {
    SetBits(text.substr(equals + 1), bits);
  } catch (const UsageError& e) {
    throw UsageError(Concat("--bits-for '", text, "': ", e.what()));
  }
  if (bits.ternary || !GptqBits(bits.bits))
    throw UsageError(Concat("--bits-for '", text, "': the format holds 2, 3, 4 or 8 bits"));
  return {text.substr(0, equals), bits.bits};
}

void RunQuantize(const Options& given, CommandContext& context) {
  QuantizeOptions options = given.quantize;
  options.solver = ResolveSolverOptions(given.solver, DType::kF16);
  options.method = ParseMethod(given.solver.method);
  if (options.solver.ternary)
    throw UsageError("--bits 1.58: --format gptq and gptq_v2 cannot hold ternary weights");
  if (!GptqBits(options.solver.bits)) {
    throw UsageError(
        Concat("--bits ", options.solver.bits, ": --format gptq and gptq_v2 hold 2, 3, 4 or 8 bits"));
  }
  for (const std::string& text : options.skip) CheckPattern("--skip", text);
  const std::string format = !given.format.empty()      ? given.format
                             : options.solver.symmetric ? "gptq"
                                                        : "gptq_v2";
  options.version = format == "gptq" ? GptqVersion::kV1 : GptqVersion::kV2;
  if (options.version == GptqVersion::kV1 && !options.solver.symmetric) options.solver.minimum_zero = 1;
  for (const std::string& text : given.bits_for) options.bits_for.push_back(ParseBitsFor(text));
  if (given.solver.recipe == "reference") options.calibration.sink_sequences = 0;
  if (given.sink_sequences) options.calibration.sink_sequences = *given.sink_sequences;
  if (given.token_weighting == "attention") options.token_weighting = TokenWeighting::kAttention;

  const std::unique_ptr<Backend> backend = context.MakeBackend();
  const QuantizeReport report = Quantize(options, *backend, context.progress());
  double error = 0;
  int64_t measured = 0;
  for (const LayerReport& layer : report.layers) {
    if (layer.relative_error) error += *layer.relative_error;
    if (layer.relative_error) ++measured;
  }
  std::string text = Format("%s: %zu linears, %.2f bits per weight", report.output.c_str(),
                            report.layers.size(), report.bits_per_weight);
  if (measured > 0)
    text += Format(", mean relative error of their outputs %.4f", error / static_cast<double>(measured));
  context.SetResult(ToJson(report), text + "\n");
}

}  // namespace

void AddQuantizeCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<Options>();
  QuantizeOptions& quantize = options->quantize;
  CLI::App* command = app.add_subcommand("quantize", "Quantize a model");
  command->add_option("MODEL", quantize.model, "Model folder or .gguf file")->required();
  command->add_option("--output", quantize.output, "Folder to write")->required();
  command->add_flag("--overwrite", quantize.overwrite, "Replace the output if it exists");
  command
      ->add_option("--format", options->format,
                   "gptq (v1; default) or gptq_v2 (default with --asymmetric: v1 cannot say a zero of 0)")
      ->check(CLI::IsMember({"gptq", "gptq_v2"}));
  AddSolverOptions(command, &options->solver);
  command->add_option("--calibration", quantize.calibration.file,
                      ".txt, .jsonl or .safetensors; default: a built-in set");
  command->add_option("--samples", quantize.calibration.samples, "Calibration sequences")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command
      ->add_option("--sequence-length", quantize.calibration.sequence_length,
                   "Their length, at most what the model can")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  command->add_option("--seed", quantize.calibration.seed, "Of the choice of samples")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--sink-sequences", options->sink_sequences,
                   "Extra calibration sequences of one token (default 512; 0 with --recipe reference)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  command
      ->add_option("--token-weighting", options->token_weighting,
                   "none, or attention: tokens count by the attention they receive")
      ->check(CLI::IsMember({"none", "attention"}))
      ->capture_default_str();
  command
      ->add_option(
          "--asymmetric-calibration", quantize.asymmetric_calibration,
          "0 to 1: how far to aim at the unquantized model's outputs; doubles the calibration's time")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--bits-for", options->bits_for, "REGEX=BITS for linears whose name matches; repeatable")
      ->take_all();
  command->add_option("--skip", quantize.skip, "REGEX: linears to leave as they are; repeatable")->take_all();
  command->add_option("--architecture", quantize.architecture,
                      "Architecture file instead of the built-in ones");
  command->callback([options, &context] { RunQuantize(*options, context); });
}

}  // namespace gptq
