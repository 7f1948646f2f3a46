#include "workflow/generate.h"

#include <algorithm>
#include <cstdio>

#include "cli/command.h"
#include "cli/engine_options.h"
#include "cli/generate_options.h"
#include "workflow/generate_many.h"
#include "workflow/model_files.h"

namespace gptq {
namespace {

struct GenerateCommandOptions {
  std::string model, prompt, prompt_file, architecture;
  int activation_bits = 16;
  GenerateManyOptions generate;
};

class Generation {
 public:
  Generation(const GenerateCommandOptions& options, CommandContext& context)
      : options_(options),
        context_(context),
        model_(ModelFiles::Open(options.model, options.architecture)),
        tokenizer_(model_->LoadTokenizer()),
        backend_(context.MakeBackend()) {}

  void RunOne() {
    const std::unique_ptr<Decoder> decoder = Load({{options_.prompt, "--prompt"}});
    bool begun = context_.json;  // the prompt is printed once it is certain that something follows
    const auto print = [&](std::string_view piece) {
      context_.progress().Step(0);  // Ctrl-C ends it here
      if (context_.json) return;
      const std::string text = Concat(begun ? "" : options_.prompt, piece);
      begun = true;
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    };
    const GenerateResult result =
        Generate(*decoder, tokenizer_, options_.prompt, options_.generate.each, print);
    if (!context_.json) print("\n");
    if (result.context_full) NoteFullContext("the text ends");
    Json json = TextJson(result);
    NoteSpeed(result.prompt_tokens, result.prefill_tokens_per_second, static_cast<int64_t>(result.ids.size()),
              result.decode_tokens_per_second, json);
    context_.SetResult(std::move(json), "");
  }

  void RunMany() {
    const std::vector<Prompt> prompts = ReadPrompts(options_.prompt_file);
    const std::unique_ptr<Decoder> decoder = Load(prompts);
    const GenerateManyResult result =
        GenerateMany(*decoder, tokenizer_, prompts, options_.generate, [&] { context_.progress().Step(0); });
    Json texts = Json::array();
    std::string shown;
    int64_t read = 0, written = 0;
    for (size_t i = 0; i < prompts.size(); ++i) {
      texts.push_back(TextJson(result.texts[i]));
      texts.back()["prompt"] = prompts[i].text;
      shown += prompts[i].text + result.texts[i].text + "\n";
      read += result.texts[i].prompt_tokens;
      written += static_cast<int64_t>(result.texts[i].ids.size());
    }
    const auto full = std::ranges::count_if(result.texts, &GenerateResult::context_full);
    if (full > 0) NoteFullContext(Concat(full, " of the texts end"));
    Json json{{"continuations", std::move(texts)}, {"batch", options_.generate.together}};
    NoteSpeed(read, result.prefill_tokens_per_second, written, result.decode_tokens_per_second, json);
    context_.SetResult(std::move(json), shown);
  }

 private:
  // For the longest prompt: a model may allow far longer sequences than there is memory for.
  std::unique_ptr<Decoder> Load(const std::vector<Prompt>& prompts) {
    size_t most = 0;
    for (const Prompt& prompt : prompts) most = std::max(most, tokenizer_.Encode(prompt.text).size());
    const auto prompt_tokens = static_cast<int64_t>(tokenizer_.TemplateBefore().size() + most + 1);
    const int64_t longest =
        std::min(model_->spec().max_positions, prompt_tokens + options_.generate.each.tokens);
    return model_->LoadEngine(*backend_, longest, options_.activation_bits);
  }

  static Json TextJson(const GenerateResult& result) {
    return {{"text", result.text}, {"ids", result.ids}, {"prompt_tokens", result.prompt_tokens}};
  }

  void NoteFullContext(const std::string& what) {
    context_.progress().Note(
        Concat(what, " because the model takes at most ", model_->spec().max_positions, " tokens at a time"));
  }

  void NoteSpeed(int64_t read, double read_rate, int64_t written, double write_rate, Json& json) {
    for (const std::string& warning : model_->source().warnings()) context_.progress().Warn(warning);
    context_.progress().Note(Format("%lld tokens read at %.1f/s, %lld written at %.1f/s",
                                    static_cast<long long>(read), read_rate, static_cast<long long>(written),
                                    write_rate));
    json["kv_bits"] = options_.generate.each.kv_bits;
    json["prefill_tokens_per_second"] = read_rate;
    json["decode_tokens_per_second"] = write_rate;
  }

  const GenerateCommandOptions& options_;
  CommandContext& context_;
  const std::unique_ptr<ModelFiles> model_;
  const Tokenizer tokenizer_;
  const std::unique_ptr<Backend> backend_;
};

}  // namespace

void AddGenerateCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<GenerateCommandOptions>();
  CLI::App* command = app.add_subcommand("generate", "Continue a text, or many");
  command->add_option("MODEL", options->model, "Model folder or .gguf file")->required();
  CLI::Option* prompt = command->add_option("--prompt", options->prompt, "Text to continue");
  CLI::Option* file =
      command
          ->add_option("--prompt-file", options->prompt_file,
                       "Many texts to continue: one a line, or .jsonl with 'prompt' in each row")
          ->excludes(prompt);
  command->add_option("--batch", options->generate.together, "Texts of the file that are continued at a time")
      ->check(CLI::Range(int64_t{1}, int64_t{64}))
      ->needs(file)
      ->capture_default_str();
  AddGenerateOptions(command, options->generate.each);
  AddActivationBitsOption(command, options->activation_bits);
  AddKvBitsOption(command, options->generate.each.kv_bits);
  command->add_option("--architecture", options->architecture,
                      "Architecture file instead of the built-in ones");
  command->callback([options, prompt, file, &context] {
    if (prompt->count() == 0 && file->count() == 0) throw CLI::RequiredError("--prompt or --prompt-file");
    Generation generation(*options, context);
    if (file->count() > 0) return generation.RunMany();
    generation.RunOne();
  });
}

}  // namespace gptq
