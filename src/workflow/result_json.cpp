#include "workflow/result_json.h"

#include <cmath>

#include "base/hash.h"

namespace gptq {
namespace {

Json ScoresJson(const BiasScores& scores) {
  return {{"examples", scores.examples},
          {"stereotype_score", scores.stereotype_score},
          {"standard_error", scores.standard_error},
          {"language_model_score", OrNull(scores.language_model_score)},
          {"icat", OrNull(scores.icat)}};
}

Json ToJson(const WorstToken& worst) {
  const TokenDifference& token = worst.difference;
  return {{"window", worst.window},
          {"position", worst.position},
          {"context", worst.context},
          {"token", worst.token},
          {"kl", token.divergence},
          {"probability_a", std::exp(-token.loss_a)},
          {"probability_b", std::exp(-token.loss_b)},
          {"top_a", worst.top_a},
          {"top_probability_a", token.probability_a},
          {"top_b", worst.top_b},
          {"top_probability_b", token.probability_b}};
}

}  // namespace

Json ToJson(const PerplexityResult& result, const PerplexityOptions& options) {
  return {{"task", "perplexity"},
          {"perplexity", result.perplexity},
          {"perplexity_standard_error", result.perplexity_standard_error},
          {"negative_log_likelihood", result.negative_log_likelihood},
          {"standard_error", result.standard_error},
          {"bits_per_byte", result.bits_per_byte},
          {"bits_per_word", result.bits_per_word},
          {"tokens", result.tokens},
          {"bytes", result.bytes},
          {"words", result.words},
          {"windows", result.windows},
          {"sequence_length", result.sequence_length},
          {"stride", result.stride},
          {"flops_per_second", result.flops / result.seconds},
          {"protocol", options.protocol},
          {"text_hash", HashName(result.text_hash)}};
}

Json ToJson(const TaskResult& result, const Task& task) {
  Json json{{"task", task.name},
            {"examples", result.examples},
            {"tokens", result.tokens},
            {"accuracy", result.accuracy},
            {"standard_error", result.standard_error}};
  if (result.accuracy_normalized) {
    json["accuracy_normalized"] = *result.accuracy_normalized;
    json["accuracy_normalized_standard_error"] = *result.normalized_standard_error;
  }
  if (result.perplexity) {
    json["perplexity"] = *result.perplexity;
    json["perplexity_standard_error"] = *result.perplexity_standard_error;
  }
  return json;
}

Json ToJson(const BiasResult& result) {
  Json json = ScoresJson(result);
  json["mean_difference"] = result.mean_difference;
  json["kinds"] = Json::object();
  for (const auto& [kind, scores] : result.kinds) json["kinds"][kind] = ScoresJson(scores);
  return json;
}

Json ToJson(const CompareResult& result) {
  Json worst = Json::array(), blocks = Json::array();
  for (const WorstToken& token : result.worst_tokens) worst.push_back(ToJson(token));
  for (const double error : result.block_errors)
    blocks.push_back({{"block", blocks.size()}, {"relative_error", error}});
  return {{"kl_mean", result.kl_mean},
          {"kl_standard_error", result.kl_standard_error},
          {"kl_median", result.kl_median},
          {"kl_p99", result.kl_p99},
          {"kl_p999", result.kl_p999},
          {"top1_agreement", result.top1_agreement},
          {"top5_agreement", result.top5_agreement},
          {"perplexity_a", result.perplexity_a},
          {"perplexity_b", result.perplexity_b},
          {"perplexity_a_standard_error", result.perplexity_a_standard_error},
          {"perplexity_b_standard_error", result.perplexity_b_standard_error},
          {"perplexity_ratio", result.perplexity_ratio},
          {"perplexity_ratio_standard_error", result.perplexity_ratio_standard_error},
          {"tokens", result.tokens},
          {"windows", result.windows},
          {"sequence_length", result.sequence_length},
          {"text_hash", HashName(result.text_hash)},
          {"reference_from_cache", result.reference_from_cache},
          {"worst_tokens", std::move(worst)},
          {"blocks", std::move(blocks)}};
}

}  // namespace gptq
