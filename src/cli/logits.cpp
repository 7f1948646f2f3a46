#include "workflow/logits.h"

#include <algorithm>
#include <cstring>

#include "cli/command.h"
#include "cli/engine_options.h"
#include "io/output_folder.h"
#include "io/safetensors.h"
#include "workflow/model_files.h"

namespace gptq {
namespace {

struct LogitsCommandOptions {
  std::string model, tokens, output, architecture;
  int activation_bits = 32;
  bool overwrite = false, hidden_states = false;
};

void RunLogits(const LogitsCommandOptions& options, CommandContext& context) {
  const SafetensorsFile input = SafetensorsFile::Open(options.tokens);
  const std::unique_ptr<ModelFiles> model = ModelFiles::Open(options.model, options.architecture);
  const std::unique_ptr<Backend> backend = context.MakeBackend();
  const LogitsResult result = ComputeLogits(*model, *backend, input.Get("input_ids"), options.tokens,
                                            options.hidden_states, options.activation_bits);
  for (const std::string& warning : model->source().warnings()) context.progress().Warn(warning);
  WriteLogits(options.output, options.overwrite, result);
  const Shape& shape = result.logits.shape();
  context.SetResult({{"output", options.output}, {"shape", shape}},
                    Concat("logits ", ToString(shape), " written to ", options.output, "\n"));
}

}  // namespace

void AddLogitsCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<LogitsCommandOptions>();
  CLI::App* command = app.add_subcommand("logits", "Compute the logits of given tokens");
  command->add_option("MODEL", options->model, "Model folder or .gguf file")->required();
  command->add_option("--tokens", options->tokens, "safetensors file with input_ids int32 [batch, tokens]")
      ->required();
  command->add_option("--output", options->output, "safetensors file to write")->required();
  command->add_flag("--overwrite", options->overwrite, "Replace the output if it exists");
  command->add_flag("--hidden-states", options->hidden_states,
                    "Also write hidden_after_block_N [batch, tokens, hidden]");
  AddActivationBitsOption(command, options->activation_bits);
  command->add_option("--architecture", options->architecture,
                      "Architecture file instead of the built-in ones");
  command->callback([options, &context] { RunLogits(*options, context); });
}

}  // namespace gptq
