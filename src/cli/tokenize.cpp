#include "cli/command.h"
#include "workflow/model_files.h"

namespace gptq {
namespace {

struct TokenizeOptions {
  std::string model, text, file;
  bool special_tokens = false;
};

void Tokenize(const TokenizeOptions& options, CommandContext& context) {
  const Tokenizer tokenizer = OpenTokenizer(options.model);
  const std::string text = options.file.empty() ? options.text : ReadTextFile(options.file);
  const std::vector<int32_t> ids =
      options.special_tokens ? tokenizer.EncodeWithSpecialTokens(text) : tokenizer.Encode(text);
  std::string line;
  for (const int32_t id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
  context.SetResult({{"ids", ids}, {"count", ids.size()}}, line + "\n");
}

struct DetokenizeOptions {
  std::string model, ids;
};

void Detokenize(const DetokenizeOptions& options, CommandContext& context) {
  std::vector<int32_t> ids;
  const char separator = options.ids.find(',') == std::string::npos ? ' ' : ',';
  for (const std::string& word : CLI::detail::split(options.ids, separator)) {
    int32_t id = 0;
    if (!CLI::detail::lexical_cast(CLI::detail::trim_copy(word), id))
      throw UsageError(Concat("--ids: '", word, "' is not a token id"));
    ids.push_back(id);
  }
  const std::string text = OpenTokenizer(options.model).Decode(ids);
  context.SetResult({{"text", text}}, text + "\n");
}

}  // namespace

void AddTokenizeCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Text to token ids");
  command->add_option("MODEL", options->model, "Model, or a tokenizer alone")->required();
  CLI::Option* text = command->add_option("--text", options->text, "The text");
  command->add_option("--file", options->file, "Or a file that holds it")->excludes(text);
  command->add_flag("--special-tokens", options->special_tokens,
                    "Add what the tokenizer's template adds (BOS ...)");
  command->callback([options, &context, command] {
    if (command->count("--text") + command->count("--file") == 0)
      throw UsageError("--text or --file is needed");
    Tokenize(*options, context);
  });
}

void AddDetokenizeCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<DetokenizeOptions>();
  CLI::App* command = app.add_subcommand("detokenize", "Token ids to text");
  command->add_option("MODEL", options->model, "Model, or a tokenizer alone")->required();
  command->add_option("--ids", options->ids, "1,2,3 or \"1 2 3\"")->required();
  command->callback([options, &context] { Detokenize(*options, context); });
}

}  // namespace gptq
