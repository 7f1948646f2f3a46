#include "workflow/zero_shot.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "workflow/statistics.h"

namespace gptq {
namespace {

std::vector<std::vector<ScoredSequence>> Encode(const Tokenizer& tokenizer,
                                                const std::vector<TaskExample>& examples, int64_t max_tokens,
                                                std::string_view where) {
  std::vector<std::vector<ScoredSequence>> groups;
  groups.reserve(examples.size());
  for (const TaskExample& example : examples) {
    std::vector<ScoredSequence>& group = groups.emplace_back();
    for (const TaskText& text : example.choices) {
      group.push_back(EncodePair(tokenizer, text.context, text.continuation, max_tokens,
                                 Concat(where, " line ", example.line)));
    }
  }
  return groups;
}

TaskResult::Example Judge(const TaskExample& example, std::vector<SequenceScore> scores) {
  TaskResult::Example result{example.line, example.answer, std::move(scores), false, false};
  if (result.choices.size() == 1) {
    result.correct = result.choices.front().greedy;
    return result;
  }
  std::vector<double> likelihoods, normalized;
  for (size_t i = 0; i < result.choices.size(); ++i) {
    likelihoods.push_back(result.choices[i].log_likelihood);
    normalized.push_back(likelihoods.back() / static_cast<double>(example.lengths[i]));
  }
  result.correct = Greatest(likelihoods) == example.answer;
  result.correct_normalized = Greatest(normalized) == example.answer;
  return result;
}

}  // namespace

int64_t Greatest(std::span<const double> values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

TaskResult MeasureTask(const Decoder& decoder, const Tokenizer& tokenizer, const Task& task,
                       const std::vector<TaskExample>& examples, std::string_view where, Progress& progress) {
  progress.Stage(task.name, static_cast<int64_t>(examples.size()));
  std::vector<std::vector<SequenceScore>> scores =
      ScoreSequences(decoder, Encode(tokenizer, examples, decoder.max_tokens(), where), kScoredRows,
                     [&](int64_t done) { progress.Step(done); });
  TaskResult result;
  result.examples = static_cast<int64_t>(examples.size());
  std::vector<double> correct, normalized, losses;
  for (size_t i = 0; i < examples.size(); ++i) {
    for (const SequenceScore& score : scores[i]) {
      result.tokens += score.tokens;
      if (std::isfinite(score.log_likelihood)) continue;
      throw Error("the model's output is not finite", decoder.spec().where,
                  "the weights are damaged or overflow; fetch the model again");
    }
    losses.push_back(-scores[i][static_cast<size_t>(examples[i].answer)].log_likelihood);
    result.details.push_back(Judge(examples[i], std::move(scores[i])));
    correct.push_back(result.details.back().correct);
    normalized.push_back(result.details.back().correct_normalized);
  }
  result.accuracy = Mean(correct);
  result.standard_error = StandardError(correct);
  if (task.Has(TaskMetric::kAccuracyNormalized)) {
    result.accuracy_normalized = Mean(normalized);
    result.normalized_standard_error = StandardError(normalized);
  }
  if (task.Has(TaskMetric::kPerplexity)) {
    result.perplexity = std::exp(Mean(losses));
    result.perplexity_standard_error = *result.perplexity * StandardError(losses);
  }
  return result;
}

}  // namespace gptq
