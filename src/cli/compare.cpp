#include "workflow/compare.h"

#include "cli/command.h"
#include "cli/context_option.h"
#include "cli/side_file.h"
#include "report/html.h"
#include "workflow/model_size.h"
#include "workflow/result_json.h"

namespace gptq {
namespace {

struct CompareCommandOptions {
  std::string a, b, data, architecture;
  CompareOptions compare;
  const CLI::Option* sequence_length = nullptr;
};

// On one line, with line ends and the like as escapes.
std::string Quoted(const std::string& text) { return Dump(Json(text)); }

std::string DescribeWorst(const CompareResult& result) {
  std::string text;
  for (const WorstToken& worst : result.worst_tokens) {
    const TokenDifference& token = worst.difference;
    if (token.divergence == 0) break;
    if (text.empty()) text = "tokens that differ most:\n";
    text += Format("  KL %.3f, window %lld, token %lld: ", token.divergence,
                   static_cast<long long>(worst.window), static_cast<long long>(worst.position)) +
            Concat("after ", Quoted(worst.context), " comes ", Quoted(worst.token), "; A says ",
                   Quoted(worst.top_a), Format(" (%.3f)", token.probability_a), ", B says ",
                   Quoted(worst.top_b), Format(" (%.3f)\n", token.probability_b));
  }
  return text;
}

std::string DescribeBlocks(const CompareResult& result) {
  if (result.block_errors.empty()) return "";
  std::string text = "relative error of the blocks' outputs:";
  for (const double error : result.block_errors) text += Format(" %.4f", error);
  return text + "\n";
}

std::string Describe(const CompareResult& result, const std::string& data) {
  return Format(
             "perplexity of A            %.4f +- %.4f\n"
             "perplexity of B            %.4f +- %.4f (%.5f +- %.5f times A's)\n"
             "KL divergence, mean        %.6f +- %.6f nats\n"
             "KL divergence, median      %.6f\n"
             "KL divergence, 99 %%        %.6f\n"
             "KL divergence, 99.9 %%      %.6f\n"
             "same most likely token     %.3f %%\n"
             "same five likeliest tokens %.3f %%\n",
             result.perplexity_a, result.perplexity_a_standard_error, result.perplexity_b,
             result.perplexity_b_standard_error, result.perplexity_ratio,
             result.perplexity_ratio_standard_error, result.kl_mean, result.kl_standard_error,
             result.kl_median, result.kl_p99, result.kl_p999, 100 * result.top1_agreement,
             100 * result.top5_agreement) +
         Format("%s tokens, %lld windows of %lld tokens of ", CountText(result.tokens).c_str(),
                static_cast<long long>(result.windows), static_cast<long long>(result.sequence_length)) +
         data + "\n" + DescribeBlocks(result) + DescribeWorst(result);
}

void Compare(const CompareCommandOptions& options, CommandContext& context) {
  const std::string text = ReadTextFile(options.data);
  const std::unique_ptr<ModelFiles> a = ModelFiles::Open(options.a, options.architecture);
  const std::unique_ptr<ModelFiles> b = ModelFiles::Open(options.b, options.architecture);
  for (const ModelFiles* model : {a.get(), b.get()})
    ContextFor(*model, options.compare.sequence_length, *options.sequence_length);
  const std::unique_ptr<Backend> backend = context.MakeBackend();
  const CompareResult result =
      CompareModels(*a, *b, *backend, text, options.data, options.compare, context.progress());
  for (ModelFiles* model : {a.get(), b.get()}) {
    for (const std::string& warning : model->source().warnings()) context.progress().Warn(warning);
  }
  if (result.reference_from_cache)
    context.progress().Note(Concat("A's states were read from ", options.compare.reference_cache.string()));
  Json json = ToJson(result);
  json["data"] = options.data;
  json["model_a"] = SizeJson(*a);
  json["model_b"] = SizeJson(*b);
  context.SetResult(std::move(json), Describe(result, options.data));
}

}  // namespace

void AddCompareCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<CompareCommandOptions>();
  CLI::App* command =
      app.add_subcommand("compare", "Measure how far model B's predictions are from model A's");
  command->add_option("A", options->a, "The reference: model folder or .gguf file")->required();
  command->add_option("B", options->b, "The model compared with it, of the same tokenizer")->required();
  command->add_option("--data", options->data, "Text file")->required();
  options->sequence_length = command
                                 ->add_option("--sequence-length", options->compare.sequence_length,
                                              "Tokens of a window; less where the models can less")
                                 ->check(CLI::Range(int64_t{2}, int64_t{1} << 30))
                                 ->capture_default_str();
  command->add_option("--windows", options->compare.windows, "The first N windows; 0 = all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--reference-cache", options->compare.reference_cache,
                      "File that keeps what A computes, for the next comparison with A on the same text");
  command
      ->add_option("--worst-tokens", options->compare.worst_tokens,
                   "How many of the tokens that differ most to show")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--architecture", options->architecture,
                      "Architecture file instead of the built-in ones");
  AddReportOption(command, context);
  command->callback([command, options, &context] {
    CheckReport(*command, context);
    Compare(*options, context);
  });
}

}  // namespace gptq
