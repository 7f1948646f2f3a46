// How well a model does a zero-shot task.
#pragma once

#include <optional>

#include "base/progress.h"
#include "model/decoder.h"
#include "workflow/sequence_scores.h"
#include "workflow/task.h"

namespace gptq {

// Definitions of EleutherAI/lm-evaluation-harness 0.4. Standard errors are of the mean over examples.
struct TaskResult {
  int64_t examples = 0, tokens = 0;  // scored ones
  double accuracy = 0, standard_error = 0;
  std::optional<double> accuracy_normalized, normalized_standard_error;
  // Exponential of the mean negative log-likelihood of a whole answer; its error to first order.
  std::optional<double> perplexity, perplexity_standard_error;

  struct Example {
    int64_t line = 0, answer = 0;
    std::vector<SequenceScore> choices;
    bool correct = false, correct_normalized = false;
  };
  std::vector<Example> details;
};

// `where`: the data's file, for messages.
TaskResult MeasureTask(const Decoder& decoder, const Tokenizer& tokenizer, const Task& task,
                       const std::vector<TaskExample>& examples, std::string_view where, Progress& progress);

// The number of the greatest value, the first one of equals.
int64_t Greatest(std::span<const double> values);

}  // namespace gptq
