#include "cli/generate_options.h"

#include "cli/command.h"

namespace gptq {

void AddGenerateOptions(CLI::App* command, GenerateOptions& options) {
  SamplingOptions& sampling = options.sampling;
  command->add_option("--tokens", options.tokens, "Tokens to write, at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  command->add_option("--temperature", sampling.temperature, "0 = always the likeliest token")
      ->check(NumberFrom(0, 100))
      ->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "Only the K likeliest tokens; 0 = all")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--top-p", sampling.top_p, "Only the likeliest tokens that hold this share of probability")
      ->check(NumberFrom(0, 1));
  command->add_option("--min-p", sampling.min_p, "Only tokens this likely, relative to the likeliest")
      ->check(NumberFrom(0, 1));
  command
      ->add_option("--repeat-penalty", sampling.repeat_penalty,
                   "Above 1: tokens seen before become less likely")
      ->check(NumberFrom(0.01, 100));
  command->add_option("--seed", sampling.seed, "Same seed, same text")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  const CLI::Validator not_empty([](std::string& text) { return text.empty() ? "it is empty" : ""; }, "TEXT");
  command->add_option("--stop", options.stop, "End before this text; repeatable")
      ->check(not_empty)
      ->take_all()
      ->allow_extra_args(false);
}

}  // namespace gptq
