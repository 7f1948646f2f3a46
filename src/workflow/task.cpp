#include "workflow/task.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "text/unicode.h"
#include "workflow/builtin_tasks.h"
#include "workflow/task_template.h"

namespace gptq {
namespace {

[[noreturn]] void MalformedTask(std::string_view what, const std::string& name, std::string_view where) {
  throw Error(Concat("task '", name, "': ", what), where, "compare it with data/tasks.json");
}

TaskMetric ParseMetric(const std::string& metric, const std::string& task, std::string_view where) {
  if (metric == "accuracy") return TaskMetric::kAccuracy;
  if (metric == "accuracy_normalized") return TaskMetric::kAccuracyNormalized;
  if (metric == "perplexity") return TaskMetric::kPerplexity;
  MalformedTask(Concat("metric '", metric, "' is not known"), task, where);
}

RowForm ParseForm(const Json& json, const std::string& task, std::string_view where) {
  RowForm form;
  form.context = json.value("context", "");
  form.blank = json.value("blank", "");
  form.last_word = json.value("last_word", "");
  form.filter = json.value("filter", "");
  if (form.context.empty() + form.blank.empty() + form.last_word.empty() != 2)
    MalformedTask("a row needs one of context, blank, last_word", task, where);
  if (!form.last_word.empty()) return form;
  const Json& choices = json.at("choices");
  if (choices.is_string()) {
    form.choices_path = choices.get<std::string>();
  } else {
    form.choices = choices.get<std::vector<std::string>>();
  }
  const Json& answer = json.at("answer");
  if (answer.is_number_integer()) {
    form.constant_answer = answer.get<int64_t>();
  } else {
    form.answer_path = answer.get<std::string>();
  }
  form.answer_names_path = json.value("answer_names", "");
  form.first_answer = json.value("first_answer", int64_t{0});
  return form;
}

Task ParseTask(const Json& json, const std::string& name, std::string_view where) {
  Task task;
  task.name = name;
  try {
    task.title = json.value("title", name);
    for (const Json& metric : json.at("metrics"))
      task.metrics.push_back(ParseMetric(metric.get<std::string>(), name, where));
    for (const Json& row : json.at("rows")) task.forms.push_back(ParseForm(row, name, where));
  } catch (const Json::exception& e) {
    MalformedTask(e.what(), name, where);
  }
  return task;
}

// One row and the form that fits it.
class ExampleMaker {
 public:
  ExampleMaker(const DataRow& row, const RowForm& form, std::string_view where)
      : row_(row), form_(form), where_(Concat(where, " line ", row.line)) {}

  // Nullopt where the row lacks fields of the form.
  std::optional<TaskExample> Make() const {
    if (!form_.last_word.empty()) return LastWord();
    const std::string& pattern = form_.blank.empty() ? form_.context : form_.blank;
    const std::optional<std::string> text = FillTemplate(pattern, row_.fields);
    const std::optional<std::vector<std::string>> choices = Choices();
    if (!text || !choices || !HasAnswer()) return std::nullopt;
    if (choices->size() < 2) Malformed(Concat(choices->size(), " choices, at least 2 are needed"));
    TaskExample example;
    example.line = row_.line;
    for (const std::string& choice : *choices) {
      if (choice.empty()) Malformed("an empty choice");
      example.choices.push_back(form_.blank.empty() ? TaskText{Filtered(*text), " " + choice}
                                                    : FilledBlank(Filtered(*text), choice));
      example.lengths.push_back(CountCharacters(choice));
    }
    example.answer = Answer(static_cast<int64_t>(choices->size()));
    return example;
  }

 private:
  [[noreturn]] void Malformed(std::string_view what) const {
    throw Error(what, where_, "is this the right file, and whole?");
  }

  std::string Filtered(const std::string& text) const {
    return form_.filter.empty() ? text : ApplyFilter(form_.filter, text);
  }

  static int64_t CountCharacters(std::string_view text) {
    int64_t count = 0;
    for (size_t at = 0; at < text.size(); at += DecodeUtf8(text, at).size) ++count;
    return count;
  }

  std::optional<TaskExample> LastWord() const {
    const std::optional<std::string> text = FillTemplate(form_.last_word, row_.fields);
    if (!text) return std::nullopt;
    const size_t space = text->rfind(' ');
    if (space == std::string::npos || space + 1 == text->size()) Malformed("a text without a last word");
    return TaskExample{row_.line, {{text->substr(0, space), text->substr(space)}}, {1}, 0};
  }

  TaskText FilledBlank(const std::string& text, const std::string& choice) const {
    const size_t blank = text.find('_');
    if (blank == std::string::npos) Malformed("a text without the blank \"_\"");
    const std::string rest = ApplyFilter("strip", text.substr(blank + 1));
    if (rest.empty()) Malformed("no text behind the blank \"_\"");
    return {text.substr(0, blank) + choice, " " + rest};
  }

  std::optional<std::vector<std::string>> Choices() const {
    std::vector<std::string> texts;
    for (const std::string& pattern : form_.choices) {
      const std::optional<std::string> text = FillTemplate(pattern, row_.fields);
      if (!text) return std::nullopt;
      texts.push_back(Filtered(*text));
    }
    if (form_.choices_path.empty()) return texts;
    const std::optional<Json> array = FieldAt(row_.fields, form_.choices_path);
    if (!array || !array->is_array()) return std::nullopt;
    for (const Json& element : *array) {
      if (!element.is_string()) Malformed("a choice that is not a text");
      texts.push_back(Filtered(element.get<std::string>()));
    }
    return texts;
  }

  bool HasAnswer() const {
    return form_.constant_answer >= 0 ||
           (TextAt(row_.fields, form_.answer_path) &&
            (form_.answer_names_path.empty() || FieldAt(row_.fields, form_.answer_names_path)));
  }

  int64_t Answer(int64_t choices) const {
    if (form_.constant_answer >= 0) return form_.constant_answer;
    const std::string text = ApplyFilter("strip", *TextAt(row_.fields, form_.answer_path));
    int64_t answer = -1;
    if (!form_.answer_names_path.empty()) {
      const Json names = *FieldAt(row_.fields, form_.answer_names_path);
      answer = std::find(names.begin(), names.end(), Json(text)) - names.begin();
    } else {
      const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), answer);
      answer = code == std::errc() && end == text.data() + text.size() ? answer - form_.first_answer : -1;
    }
    if (answer < 0 || answer >= choices)
      Malformed(Concat("answer \"", text.substr(0, 40), "\" is not one of the ", choices, " choices"));
    return answer;
  }

  const DataRow& row_;
  const RowForm& form_;
  std::string where_;
};

std::string FieldsOf(const RowForm& form) {
  std::string texts = form.context + form.blank + form.last_word;
  for (const std::string& choice : form.choices) texts += choice;
  std::string names;
  for (size_t at = texts.find('{'); at != std::string::npos; at = texts.find('{', at + 1))
    names += texts.substr(at + 1, texts.find_first_of("|}", at) - at - 1) + " ";
  for (const std::string& path : {form.choices_path, form.answer_path, form.answer_names_path})
    names += path.empty() ? "" : path + " ";
  return names.substr(0, names.size() - 1);
}

TaskExample MakeExample(const Task& task, const DataRow& row, std::string_view where) {
  for (const RowForm& form : task.forms) {
    if (std::optional<TaskExample> example = ExampleMaker(row, form, where).Make())
      return std::move(*example);
  }
  std::string known;
  for (const RowForm& form : task.forms) known += (known.empty() ? "" : "; or ") + FieldsOf(form);
  throw Error("the row does not have the task's fields", Concat(where, " line ", row.line),
              Concat("--task ", task.name, " reads: ", known));
}

}  // namespace

bool Task::Has(TaskMetric metric) const {
  return std::find(metrics.begin(), metrics.end(), metric) != metrics.end();
}

std::vector<std::string> BuiltInTaskNames() {
  std::vector<std::string> names;
  const Json tasks = ParseJson(BuiltInTasks(), "built-in tasks");
  for (const auto& [name, description] : tasks.items()) names.push_back(name);
  return names;
}

Task FindTask(const std::string& name, const std::filesystem::path& file) {
  const std::string where = file.empty() ? "built-in tasks" : file.string();
  const Json tasks = file.empty() ? ParseJson(BuiltInTasks(), where) : ReadJsonFile(file);
  if (!tasks.is_object())
    throw Error("not a file of task descriptions", where, "compare it with data/tasks.json");
  if (const auto found = tasks.find(name); found != tasks.end()) return ParseTask(*found, name, where);
  std::string known = "perplexity, crows_pairs, stereoset";
  for (const auto& [other, description] : tasks.items()) known += ", " + other;
  throw UsageError(Concat("--task ", name, " is not known; known are ", known));
}

std::vector<TaskExample> MakeExamples(const Task& task, const std::vector<DataRow>& rows,
                                      std::string_view where) {
  std::vector<TaskExample> examples;
  examples.reserve(rows.size());
  for (const DataRow& row : rows) examples.push_back(MakeExample(task, row, where));
  return examples;
}

}  // namespace gptq
