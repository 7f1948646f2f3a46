#include "workflow/compare.h"

#include "cli/command.h"

namespace gptq {
namespace {

struct Options {
  std::string a, b, data, architecture;
  CompareOptions compare;
};

std::string Describe(const CompareResult& result, const std::string& data) {
  return Format(
      "perplexity of A            %.4f\n"
      "perplexity of B            %.4f (%.5f +- %.5f times A's)\n"
      "KL divergence, mean        %.6f +- %.6f nats\n"
      "KL divergence, median      %.6f\n"
      "KL divergence, 99 %%        %.6f\n"
      "same most likely token     %.3f %%\n"
      "%s tokens, %lld windows of %lld tokens of %s\n",
      result.perplexity_a, result.perplexity_b, result.perplexity_ratio,
      result.perplexity_ratio_standard_error, result.kl_mean, result.kl_standard_error, result.kl_median,
      result.kl_p99, 100 * result.top1_agreement, WithCommas(result.tokens).c_str(),
      static_cast<long long>(result.windows), static_cast<long long>(result.sequence_length), data.c_str());
}

void Compare(const Options& options, CommandContext& context) {
  const std::string text = ReadTextFile(options.data);
  const std::unique_ptr<ModelFiles> a = ModelFiles::Open(options.a, options.architecture);
  const std::unique_ptr<ModelFiles> b = ModelFiles::Open(options.b, options.architecture);
  const std::unique_ptr<Backend> backend = context.MakeBackend();
  const CompareResult result =
      CompareModels(*a, *b, *backend, text, options.data, options.compare, context.progress());
  for (ModelFiles* model : {a.get(), b.get()}) {
    for (const std::string& warning : model->source().warnings()) context.progress().Warn(warning);
  }
  if (result.reference_from_cache)
    context.progress().Note(Concat("A's states were read from ", options.compare.reference_cache.string()));
  context.SetResult({{"kl_mean", result.kl_mean},
                     {"kl_standard_error", result.kl_standard_error},
                     {"kl_median", result.kl_median},
                     {"kl_p99", result.kl_p99},
                     {"top1_agreement", result.top1_agreement},
                     {"perplexity_a", result.perplexity_a},
                     {"perplexity_b", result.perplexity_b},
                     {"perplexity_ratio", result.perplexity_ratio},
                     {"perplexity_ratio_standard_error", result.perplexity_ratio_standard_error},
                     {"tokens", result.tokens},
                     {"windows", result.windows},
                     {"sequence_length", result.sequence_length},
                     {"reference_from_cache", result.reference_from_cache}},
                    Describe(result, options.data));
}

}  // namespace

void AddCompareCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("compare", "Measure how far model B's predictions are from model A's");
  command->add_option("A", options->a, "The reference: model folder or .gguf file")->required();
  command->add_option("B", options->b, "The model compared with it, of the same tokenizer")->required();
  command->add_option("--data", options->data, "Text file")->required();
  command
      ->add_option("--sequence-length", options->compare.sequence_length,
                   "Tokens of a window, at most what the models can")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 30))
      ->capture_default_str();
  command->add_option("--windows", options->compare.windows, "The first N windows; 0 = all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--reference-cache", options->compare.reference_cache,
                      "File that keeps what A computes, for the next comparison with A on the same text");
  command->add_option("--architecture", options->architecture,
                      "Architecture file instead of the built-in ones");
  command->callback([options, &context] { Compare(*options, context); });
}

}  // namespace gptq
