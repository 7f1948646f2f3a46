#include "report/fields.h"
#include "report/html.h"
#include "report/sections.h"

namespace gptq {
namespace {

// Keys that are told, in this order; the rest is of no interest to people.
struct Told {
  const char* key;
  const char* name;
  std::string (*text)(double);
  const char* error = "";  // key of its standard error
};

std::string Count(double value) { return CountText(static_cast<int64_t>(value)); }

constexpr Told kTold[] = {
    {"perplexity", "perplexity", NumberText, "perplexity_standard_error"},
    {"negative_log_likelihood", "negative log-likelihood, nats per token", NumberText, "standard_error"},
    {"bits_per_byte", "bits per byte", NumberText},
    {"bits_per_word", "bits per word", NumberText},
    {"accuracy", "accuracy", PercentText, "standard_error"},
    {"accuracy_normalized", "accuracy, normalized by length", PercentText,
     "accuracy_normalized_standard_error"},
    {"stereotype_score", "stereotype score (50 is ideal)", NumberText, "standard_error"},
    {"language_model_score", "language-model score", NumberText},
    {"icat", "ICAT", NumberText},
    {"examples", "examples", Count},
    {"tokens", "tokens", Count},
    {"windows", "windows", Count},
    {"sequence_length", "tokens of a window", Count},
    {"stride", "stride", Count},
    {"share_of_matrix_products", "speed, of the rate of matrix products", PercentText},
};

std::string WithError(const Told& told, double value, std::optional<double> error) {
  if (!error) return told.text(value);
  if (told.text == NumberText) return MeasuredText(value, error);
  return told.text(value) + " ± " + told.text(*error);
}

std::string Kinds(const Json& result) {
  HtmlTable table{{"kind", "stereotype score", "standard error", "language-model score", "ICAT", "examples"},
                  {}};
  const Json& kinds = FieldOf(result, "kinds");
  if (!kinds.is_object()) return "";
  for (const auto& [name, scores] : kinds.items()) {
    const auto number = [&](const char* key) {
      const auto value = NumberIn(scores, key);
      return value ? NumberText(*value) : std::string();
    };
    table.rows.push_back({name, number("stereotype_score"), number("standard_error"),
                          number("language_model_score"), number("icat"), number("examples")});
  }
  return Html(table);
}

}  // namespace

std::string EvaluateSection(const Json& result) {
  const std::string task = TextIn(result, "task").value_or("evaluation");
  Facts facts;
  const auto text = [&](const char* name, const char* key) {
    if (const auto value = TextIn(result, key)) facts.emplace_back(name, *value);
  };
  text("model", "model/path");
  if (const auto bytes = NumberIn(result, "model/bytes")) facts.emplace_back("its size", BytesText(*bytes));
  if (const auto bits = NumberIn(result, "model/bits_per_weight"))
    facts.emplace_back("its bits per weight", NumberText(*bits));
  text("data", "data");
  text("hash of the text", "text_hash");
  text("hash of the data", "data_hash");
  text("protocol", "protocol");
  for (const Told& told : kTold) {
    const auto value = NumberIn(result, told.key), error = NumberIn(result, told.error);
    if (value) facts.emplace_back(told.name, WithError(told, *value, error));
  }
  return Heading(task + ": " + FileName(TextIn(result, "model/path").value_or("a model"))) +
         FactsHtml(facts) + Kinds(result);
}

}  // namespace gptq
