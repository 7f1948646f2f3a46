#include "workflow/generate.h"

#include <algorithm>
#include <cstdio>

#include "cli/command.h"
#include "cli/engine_options.h"
#include "cli/generate_options.h"
#include "workflow/model_files.h"

namespace gptq {
namespace {

struct Options {
  std::string model, prompt, architecture;
  int activation_bits = 16;
  GenerateOptions generate;
};

void RunGenerate(const Options& options, CommandContext& context) {
  const std::unique_ptr<ModelFiles> model = ModelFiles::Open(options.model, options.architecture);
  const Tokenizer tokenizer = model->LoadTokenizer();
  const std::unique_ptr<Backend> backend = context.MakeBackend();
  // A model may allow far longer sequences than there is memory for.
  const size_t prompt_tokens =
      tokenizer.TemplateBefore().size() + tokenizer.Encode(options.prompt).size() + 1;
  const int64_t longest =
      std::min(model->spec().max_positions, static_cast<int64_t>(prompt_tokens) + options.generate.tokens);
  const std::unique_ptr<Decoder> decoder = model->LoadEngine(*backend, longest, options.activation_bits);
  bool begun = context.json;  // the prompt is printed once it is certain that something follows
  const auto print = [&](std::string_view piece) {
    context.progress().Step(0);  // Ctrl-C ends it here
    if (context.json) return;
    const std::string text = Concat(begun ? "" : options.prompt, piece);
    begun = true;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  const GenerateResult result = Generate(*decoder, tokenizer, options.prompt, options.generate, print);
  for (const std::string& warning : model->source().warnings()) context.progress().Warn(warning);
  if (!context.json) print("\n");
  context.progress().Note(Format(
      "%lld tokens read at %.1f/s, %zu written at %.1f/s", static_cast<long long>(result.prompt_tokens),
      result.prefill_tokens_per_second, result.ids.size(), result.decode_tokens_per_second));
  Json json{{"text", result.text},
            {"ids", result.ids},
            {"prompt_tokens", result.prompt_tokens},
            {"kv_bits", options.generate.kv_bits},
            {"prefill_tokens_per_second", result.prefill_tokens_per_second},
            {"decode_tokens_per_second", result.decode_tokens_per_second}};
  context.SetResult(std::move(json), "");
}

}  // namespace

void AddGenerateCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("generate", "Continue a text");
  command->add_option("MODEL", options->model, "Model folder or .gguf file")->required();
  command->add_option("--prompt", options->prompt, "Text to continue")->required();
  AddGenerateOptions(command, options->generate);
  AddActivationBitsOption(command, options->activation_bits);
  AddKvBitsOption(command, options->generate.kv_bits);
  command->add_option("--architecture", options->architecture,
                      "Architecture file instead of the built-in ones");
  command->callback([options, &context] { RunGenerate(*options, context); });
}

}  // namespace gptq
