#include "cli/evaluation_results.h"

#include <filesystem>

#include "base/hash.h"
#include "cli/command.h"
#include "report/html.h"

namespace gptq {
namespace {

std::string ScoresText(const BiasScores& scores) {
  std::string text = Format("%.2f +- %.2f %%", scores.stereotype_score, scores.standard_error);
  if (scores.language_model_score) {
    text += Format(", language-model score %.2f %%, ICAT %.2f", *scores.language_model_score, *scores.icat);
  }
  return text + Format(" (%s pairs)", CountText(scores.examples).c_str());
}

}  // namespace

std::string Describe(const PerplexityResult& result, const PerplexityOptions& options,
                     const std::string& data) {
  std::string windows = Concat(result.windows, " windows of ", result.sequence_length, " tokens");
  if (result.stride < result.sequence_length) windows += Concat(" every ", result.stride);
  return Format("perplexity %.4f +- %.4f (protocol %s, %s, %s tokens predicted, text %s %s)\n",
                result.perplexity, result.perplexity_standard_error, options.protocol.c_str(),
                windows.c_str(), CountText(result.tokens).c_str(), HashName(result.text_hash).c_str(),
                std::filesystem::path(data).filename().c_str()) +
         Format(
             "negative log-likelihood %.5f +- %.5f nats per token, %.5f bits per byte, %.4f bits per word\n",
             result.negative_log_likelihood, result.standard_error, result.bits_per_byte,
             result.bits_per_word);
}

std::string Describe(const TaskResult& result, const Task& task) {
  std::string text =
      Format("%s: accuracy %.4f +- %.4f", task.title.c_str(), result.accuracy, result.standard_error);
  if (result.accuracy_normalized) {
    text += Format(", normalized by length %.4f +- %.4f", *result.accuracy_normalized,
                   *result.normalized_standard_error);
  }
  if (result.perplexity)
    text += Format(", perplexity %.4f +- %.4f", *result.perplexity, *result.perplexity_standard_error);
  return text + Format(" (%s examples, zero-shot)\n", CountText(result.examples).c_str());
}

std::string DetailLines(const TaskResult& result) {
  std::string lines;
  for (const TaskResult::Example& example : result.details) {
    Json likelihoods = Json::array(), tokens = Json::array();
    for (const SequenceScore& score : example.choices) {
      likelihoods.push_back(score.log_likelihood);
      tokens.push_back(score.tokens);
    }
    lines += Dump({{"line", example.line},
                   {"answer", example.answer},
                   {"log_likelihoods", likelihoods},
                   {"tokens", tokens},
                   {"correct", example.correct},
                   {"correct_normalized", example.correct_normalized}}) +
             "\n";
  }
  return lines;
}

// Keys are in the order of the alphabet.
bool IsDetailLines(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  return line.starts_with("{\"answer\":") && line.find(",\"log_likelihoods\":") != std::string_view::npos;
}

std::string Describe(const BiasResult& result) {
  std::string text = "stereotype score " + ScoresText(result) + ", 50 % is ideal\n";
  for (const auto& [kind, scores] : result.kinds)
    text += Format("  %-20s ", kind.c_str()) + ScoresText(scores) + "\n";
  return text;
}

}  // namespace gptq
