#include "cli/command.h"
#include "cli/run_options.h"
#include "cli/side_file.h"
#include "cli/solver_options.h"
#include "workflow/resolve_options.h"

namespace gptq {
namespace {

struct QuantizeCommandOptions {
  std::string model, output;
  ModelOptions given;
  RunOptions run;
  std::vector<std::string> bits_for;
};

std::pair<std::string, int> ParseBitsFor(const std::string& text) {
  const size_t equals = text.rfind('=');
  SolverOptions bits;
  if (equals == std::string::npos) throw UsageError(Concat("--bits-for '", text, "' is not REGEX=BITS"));
  try {
    SetBits(text.substr(equals + 1), bits);
  } catch (const UsageError& e) {
    throw UsageError(Concat("--bits-for '", text, "': ", e.what()));
  }
  if (bits.ternary) throw UsageError(Concat("--bits-for '", text, "': the format holds no ternary weights"));
  return {text.substr(0, equals), bits.bits};
}

void RunQuantize(const QuantizeCommandOptions& asked, CommandContext& context) {
  ModelOptions given = asked.given;
  for (const std::string& text : asked.bits_for) given.bits_for.push_back(ParseBitsFor(text));
  QuantizeOptions options = ResolveQuantizeOptions(given);
  options.model = asked.model;
  options.output = asked.output;

  ApplyRunOptions(asked.run, options);

  const std::unique_ptr<Backend> backend = context.MakeBackend(options.memory_bytes);
  if (asked.run.dry_run) {
    const Json plan = PlanQuantization(options, *backend, context.progress());
    context.SetResult(plan, PlanText(plan));
    return;
  }
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
  auto options = std::make_shared<QuantizeCommandOptions>();
  ModelOptions& given = options->given;
  CLI::App* command = app.add_subcommand("quantize", "Quantize a model");
  command->add_option("MODEL", options->model, "Model folder or .gguf file")->required();
  command->add_option("--output", options->output, "Folder to write, for gguf the file")->required();
  command->add_flag("--overwrite", given.overwrite, "Replace the output if it exists");
  command
      ->add_option("--format", given.format,
                   "gptq (v1; default), gptq_v2 (default with --asymmetric: v1 cannot say a zero of 0), "
                   "compressed-tensors: a folder; gguf: a file")
      ->check(CLI::IsMember({"gptq", "gptq_v2", "compressed-tensors", "gguf"}));
  command->add_option(
      "--type", given.type,
      "With gguf, instead of --bits: q4_0, q4_1, q5_0, q5_1, q8_0, q2_k ... q6_k, on the type's own "
      "grids");
  command->add_option("--embedding-bits", given.embedding_bits, "16, 8, 6 or 4 in gguf, rounded to nearest")
      ->check(CLI::IsMember({16, 8, 6, 4}));
  command
      ->add_option("--head-bits", given.head_bits,
                   "Of the head, by --method; gguf: 16, 8, 6 or 4 (default 16)")
      ->check(CLI::Range(2, 16));
  AddSolverOptions(command, &given.quality);
  command->add_option("--calibration", given.calibration,
                      ".txt, .jsonl or .safetensors; default: a built-in set");
  command->add_option("--samples", given.samples, "Calibration sequences")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command
      ->add_option("--sequence-length", given.sequence_length,
                   "Their tokens (default 2048, less where the model can less)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command->add_option("--seed", given.seed, "Of the choice of samples")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--sink-sequences", given.sink_sequences,
                   "Extra calibration sequences of one token (default 512; 0 with --recipe reference)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  command
      ->add_option("--calibrate-experts", given.calibrate_experts,
                   "Mixtures of experts: routed, each by the tokens that go to it, or all, by all tokens")
      ->check(CLI::IsMember({"routed", "all"}))
      ->capture_default_str();
  command
      ->add_option("--token-weighting", given.token_weighting,
                   "none, or attention: tokens count by the attention they receive")
      ->check(CLI::IsMember({"none", "attention"}))
      ->capture_default_str();
  command->add_option(
      "--target-bits", given.target_bits,
      "Instead of --bits: stored bits per weight; bits and group size of each linear are chosen");
  command->add_option("--group-sizes", given.group_sizes, "With it: group sizes to choose from (32,64,128)")
      ->delimiter(',');
  command
      ->add_option(
          "--asymmetric-calibration", given.asymmetric_calibration,
          "0 to 1: how far to aim at the unquantized model's outputs; doubles the calibration's time "
          "(default 0; 0.5 with --recipe best)")
      ->check(CLI::Range(0.0, 1.0));
  command
      ->add_option(
          "--residual-correction", given.residual_correction,
          "0 to 1: how far the last linears of attention and MLP bring back what the residual stream has "
          "lost; doubles the calibration's time (default 0; 0.5 with --recipe best)")
      ->check(CLI::Range(0.0, 1.0));
  command
      ->add_option("--bits-for", options->bits_for, "REGEX=BITS for linears whose name matches; repeatable")
      ->take_all();
  command->add_option("--skip", given.skip, "REGEX: linears to leave as they are; repeatable")->take_all();
  command->add_option("--architecture", given.architecture, "Architecture file instead of the built-in ones");
  AddRunOptions(command, &options->run);
  AddReportOption(command, context);
  command->callback([command, options, &context] {
    CheckReport(*command, context);
    RunQuantize(*options, context);
  });
}

}  // namespace gptq
