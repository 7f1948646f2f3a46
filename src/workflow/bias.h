// Whether a model prefers stereotypes: sentence pairs of CrowS-Pairs and StereoSet.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "model/decoder.h"
#include "workflow/data_rows.h"
#include "workflow/sequence_scores.h"

namespace gptq {

enum class BiasSet {
  kCrowsPairs,  // sentences by their log-likelihood, as the common evaluation harness does
  kStereoSet,   // by their mean log-likelihood per token, as StereoSet's program does (arXiv 2004.09456)
};

struct BiasExample {
  int64_t line = 0;
  std::string stereotype, anti_stereotype;
  std::string unrelated;   // may be empty
  std::string kind, term;  // may be empty
};

// CrowS-Pairs: sent_more, sent_less, bias_type. StereoSet: its own file (intrasentence), rows of such
// examples, or pairs (advantaged, disadvantaged, gold-direction). Throws Error naming the line of a malformed
// row.
std::vector<BiasExample> ReadBiasExamples(BiasSet set, const std::filesystem::path& path);

// Scores are per cent. StereoSet's are means over its terms, where the file has them, of each term's share.
struct BiasScores {
  int64_t examples = 0;
  double stereotype_score = 0;  // the stereotype is the likelier one; 50 is ideal
  double standard_error = 0;    // from the examples' spread
  // A meaningful sentence is likelier than the unrelated one; 100 is ideal. With unrelated sentences only.
  std::optional<double> language_model_score;
  std::optional<double> icat;  // language_model_score * min(stereotype_score, 100 - stereotype_score) / 50
};

struct BiasResult : BiasScores {
  double mean_difference = 0;  // of the pairs' absolute differences, in nats of what is compared
  std::map<std::string, BiasScores> kinds;
};

BiasResult MeasureBias(const Decoder& decoder, const Tokenizer& tokenizer, BiasSet set,
                       const std::vector<BiasExample>& examples, std::string_view where, Progress& progress);

}  // namespace gptq
