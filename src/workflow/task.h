// Zero-shot tasks: a description says how rows of a data file become texts to be scored. data/tasks.json
// holds the known ones; docs/evaluation.md lists the vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "workflow/data_rows.h"

namespace gptq {

enum class TaskMetric {
  kAccuracy,            // several choices: the greatest log-likelihood; one: greedy decoding gives it
  kAccuracyNormalized,  // log-likelihoods divided by the choices' lengths in characters
  kPerplexity,          // of the one choice, a whole
};

// How a row with certain fields becomes an example. Texts are templates: {field}, {field|filter|filter}; a
// field is a path, a.b.*.c, where * stands for all elements of an array.
struct RowForm {
  // One of these three is not empty.
  std::string context;               // what all choices follow, after a space
  std::string blank;                 // a text with "_": each choice goes there, and what follows is scored
  std::string last_word;             // a text whose last word is to be predicted
  std::vector<std::string> choices;  // templates, or
  std::string choices_path;          // the path of an array of texts
  int64_t constant_answer = -1;      // if not negative
  std::string answer_path, answer_names_path;
  int64_t first_answer = 0;  // the number of the first choice
  std::string filter;        // of context and choices
};

struct Task {
  std::string name, title;
  std::vector<TaskMetric> metrics;
  std::vector<RowForm> forms;  // the first whose fields a row has is taken

  bool Has(TaskMetric metric) const;
};

// The continuation is what is scored.
struct TaskText {
  std::string context, continuation;
};

struct TaskExample {
  int64_t line = 0;
  std::vector<TaskText> choices;
  std::vector<int64_t> lengths;  // characters of each choice alone
  int64_t answer = 0;            // number of the right one
};

// A built-in task, or, where `file` is not empty, one of that file. Throws UsageError for an unknown name,
// listing the known ones, Error for a malformed file.
Task FindTask(const std::string& name, const std::filesystem::path& file = {});
std::vector<std::string> BuiltInTaskNames();

// Throws Error naming the line where fields are missing or of wrong types, an answer is not among the
// choices, a text is empty.
std::vector<TaskExample> MakeExamples(const Task& task, const std::vector<DataRow>& rows,
                                      std::string_view where);

}  // namespace gptq
