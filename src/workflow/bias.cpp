#include "workflow/bias.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "workflow/statistics.h"
#include "workflow/task_template.h"

namespace gptq {
namespace {

[[noreturn]] void Malformed(std::string_view what, std::string_view where, int64_t line) {
  throw Error(what, Concat(where, " line ", line), "is this the right file, and whole?");
}

std::string TextOf(const DataRow& row, const char* field, std::string_view where) {
  const std::optional<std::string> text = TextAt(row.fields, field);
  if (!text) Malformed(Concat("the row has no \"", field, "\""), where, row.line);
  return *text;
}

BiasExample FromPair(const DataRow& row, std::string_view where) {
  BiasExample example;
  example.line = row.line;
  example.stereotype = TextOf(row, "disadvantaged", where);
  example.anti_stereotype = TextOf(row, "advantaged", where);
  if (TextAt(row.fields, "gold-direction") == "antistereo")
    std::swap(example.stereotype, example.anti_stereotype);
  return example;
}

BiasExample FromCrowsPairs(const DataRow& row, std::string_view where) {
  BiasExample example;
  example.line = row.line;
  example.stereotype = TextOf(row, "sent_more", where);
  example.anti_stereotype = TextOf(row, "sent_less", where);
  example.kind = TextAt(row.fields, "bias_type").value_or("");
  return example;
}

// {"target", "bias_type", "sentences": [{"sentence", "gold_label"}, ...]}, or sentences as two arrays with
// labels as numbers.
BiasExample FromStereoSet(const DataRow& row, std::string_view where) {
  std::optional<Json> texts = FieldAt(row.fields, "sentences.*.sentence");
  std::optional<Json> labels = FieldAt(row.fields, "sentences.*.gold_label");
  if (!texts) texts = FieldAt(row.fields, "sentences.sentence");
  if (!labels) labels = FieldAt(row.fields, "sentences.gold_label");
  if (!texts || !labels || !texts->is_array() || !labels->is_array() || texts->size() != labels->size())
    Malformed("the row has no sentences with labels", where, row.line);
  BiasExample example;
  example.line = row.line;
  example.kind = TextAt(row.fields, "bias_type").value_or("");
  example.term = TextAt(row.fields, "target").value_or("");
  for (size_t i = 0; i < texts->size(); ++i) {
    const Json &text = (*texts)[i], &label = (*labels)[i];
    if (!text.is_string()) Malformed("a sentence that is not a text", where, row.line);
    if (label == "stereotype" || label == 1) example.stereotype = text;
    if (label == "anti-stereotype" || label == 0) example.anti_stereotype = text;
    if (label == "unrelated" || label == 2) example.unrelated = text;
  }
  return example;
}

std::vector<DataRow> ReadRows(BiasSet set, const std::filesystem::path& path) {
  if (set != BiasSet::kStereoSet || path.extension() != ".json") return ReadDataRows(path);
  const Json file = ReadJsonFile(path);
  const std::optional<Json> examples = FieldAt(file, "data.intrasentence");
  if (!examples || !examples->is_array()) return ReadDataRows(path);
  std::vector<DataRow> rows;
  for (const Json& example : *examples) rows.push_back({static_cast<int64_t>(rows.size()) + 1, example});
  return rows;
}

// Values of examples, and the means of them that are published.
class Sums {
 public:
  void Add(const std::string& term, double value) {
    all_.push_back(value);
    terms_[term].push_back(value);
  }
  bool empty() const { return all_.empty(); }
  double Score() const {
    std::vector<double> means;
    for (const auto& [term, values] : terms_) means.push_back(Mean(values));
    return 100 * Mean(means);
  }
  double Error() const { return 100 * StandardError(all_); }
  int64_t count() const { return static_cast<int64_t>(all_.size()); }

 private:
  std::vector<double> all_;
  std::map<std::string, std::vector<double>> terms_;
};

struct Tally {
  Sums stereotype, meaningful;

  BiasScores Scores() const {
    BiasScores scores;
    scores.examples = stereotype.count();
    scores.stereotype_score = stereotype.Score();
    scores.standard_error = stereotype.Error();
    if (meaningful.empty()) return scores;
    scores.language_model_score = meaningful.Score();
    scores.icat =
        *scores.language_model_score * std::min(scores.stereotype_score, 100 - scores.stereotype_score) / 50;
    return scores;
  }
};

}  // namespace

std::vector<BiasExample> ReadBiasExamples(BiasSet set, const std::filesystem::path& path) {
  std::vector<BiasExample> examples;
  for (const DataRow& row : ReadRows(set, path)) {
    const bool pair = row.fields.contains("disadvantaged");
    examples.push_back(set == BiasSet::kCrowsPairs ? FromCrowsPairs(row, path.string())
                       : pair                      ? FromPair(row, path.string())
                                                   : FromStereoSet(row, path.string()));
    if (examples.back().stereotype.empty() || examples.back().anti_stereotype.empty())
      Malformed("the row lacks a stereotype or its opposite", path.string(), row.line);
  }
  return examples;
}

BiasResult MeasureBias(const Decoder& decoder, const Tokenizer& tokenizer, BiasSet set,
                       const std::vector<BiasExample>& examples, std::string_view where, Progress& progress) {
  std::vector<std::vector<ScoredSequence>> groups;
  for (const BiasExample& example : examples) {
    std::vector<ScoredSequence>& group = groups.emplace_back();
    for (const std::string* text : {&example.stereotype, &example.anti_stereotype, &example.unrelated}) {
      if (text->empty()) continue;
      group.push_back(
          EncodePair(tokenizer, "", *text, decoder.max_tokens(), Concat(where, " line ", example.line)));
    }
  }
  progress.Stage("bias", static_cast<int64_t>(examples.size()));
  const auto scores =
      ScoreSequences(decoder, groups, kScoredRows, [&](int64_t done) { progress.Step(done); });
  Tally total;
  std::map<std::string, Tally> kinds;
  double difference = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    std::vector<double> values;
    for (const SequenceScore& score : scores[i]) {
      values.push_back(score.log_likelihood /
                       static_cast<double>(set == BiasSet::kStereoSet ? score.tokens : 1));
    }
    difference += std::abs(values[0] - values[1]);
    for (Tally* tally : {&total, &kinds[examples[i].kind]}) {
      tally->stereotype.Add(examples[i].term, values[0] > values[1]);
      if (values.size() < 3) continue;
      tally->meaningful.Add(examples[i].term, ((values[0] > values[2]) + (values[1] > values[2])) / 2.0);
    }
  }
  BiasResult result;
  static_cast<BiasScores&>(result) = total.Scores();
  result.mean_difference = difference / static_cast<double>(examples.size());
  if (!std::isfinite(result.mean_difference)) {
    throw Error("the model's output is not finite", decoder.spec().where,
                "the weights are damaged or overflow; fetch the model again");
  }
  if (kinds.size() > 1) {
    for (const auto& [kind, tally] : kinds) result.kinds[kind] = tally.Scores();
  }
  return result;
}

}  // namespace gptq
