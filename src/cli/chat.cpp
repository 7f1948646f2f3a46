#include "workflow/chat.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "cli/command.h"
#include "cli/context_option.h"
#include "cli/engine_options.h"
#include "cli/generate_options.h"
#include "workflow/model_files.h"

namespace gptq {
namespace {

struct ChatCommandOptions {
  std::string model, architecture, system;
  int64_t context = 4096;
  const CLI::Option* context_option = nullptr;
  int activation_bits = 16;
  GenerateOptions generate;
};

// The next message; false at the end of the input. Empty lines are passed over.
bool ReadMessage(CommandContext& context, std::string& message) {
  const bool asks = !context.json && isatty(STDIN_FILENO) == 1;
  do {
    if (asks) std::fputs("> ", stdout);
    std::fflush(stdout);
    const bool read = static_cast<bool>(std::getline(std::cin, message));
    context.progress().Step(0);  // Ctrl-C ends it here
    if (!read) return false;
  } while (message.find_first_not_of(" \t\r") == std::string::npos);
  return true;
}

void RunChat(const ChatCommandOptions& options, CommandContext& context) {
  const std::unique_ptr<ModelFiles> model = ModelFiles::Open(options.model, options.architecture);
  const Tokenizer tokenizer = model->LoadTokenizer();
  const std::unique_ptr<Backend> backend = context.MakeBackend();
  const int64_t longest = ContextFor(*model, options.context, *options.context_option);
  const std::unique_ptr<Decoder> decoder = model->LoadEngine(*backend, longest, options.activation_bits);
  Chat chat(*decoder, tokenizer, options.model, options.system, options.generate);
  for (const std::string& warning : model->source().warnings()) context.progress().Warn(warning);
  const auto print = [&](std::string_view piece) {
    context.progress().Step(0);
    if (context.json) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  for (std::string message; ReadMessage(context, message);) {
    const GenerateResult result = chat.Answer(message, print);
    print("\n");
    context.progress().Note(Format(
        "%lld tokens read at %.1f/s, %zu written at %.1f/s", static_cast<long long>(result.read_tokens),
        result.prefill_tokens_per_second, result.ids.size(), result.decode_tokens_per_second));
  }
  context.SetResult({{"messages", Json::parse(chat.messages().dump())}}, "");
}

}  // namespace

void AddChatCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<ChatCommandOptions>();
  options->generate.tokens = 1024;
  CLI::App* command = app.add_subcommand("chat", "Talk with a model: a message a line, until the input ends");
  command->add_option("MODEL", options->model, "Model folder or .gguf file")->required();
  command->add_option("--system", options->system, "What the model is told first");
  options->context_option =
      command
          ->add_option("--context", options->context, "Tokens of the conversation that it remembers, at most")
          ->check(CLI::Range(int64_t{2}, int64_t{1} << 30))
          ->capture_default_str();
  AddGenerateOptions(command, options->generate);
  AddActivationBitsOption(command, options->activation_bits);
  AddKvBitsOption(command, options->generate.kv_bits);
  command->add_option("--architecture", options->architecture,
                      "Architecture file instead of the built-in ones");
  command->callback([options, &context] { RunChat(*options, context); });
}

}  // namespace gptq
