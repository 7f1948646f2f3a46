// Log-likelihoods of the ends of many short sequences, of which some begin alike.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/decoder.h"
#include "text/tokenizer.h"

namespace gptq {

constexpr int64_t kScoredRows = 2048;  // tokens of a pass through the model

struct ScoredSequence {
  std::vector<int32_t> ids;
  int64_t scored_from = 1;  // ids[scored_from ...] are scored, given all before them; at least one
};

struct SequenceScore {
  double log_likelihood = 0;  // natural, the sum over the scored tokens
  int64_t tokens = 0;         // scored
  bool greedy = true;         // each scored token has the largest logit, the first one of equals
};

// The tokens of context + continuation with those of the continuation scored, as the common evaluation
// harness splits them (EleutherAI/lm-evaluation-harness 0.4): white space at the context's end belongs to the
// continuation; the whole text is tokenized at once, and as many tokens as the context alone has are its. An
// empty context is the tokenizer's BOS or EOS token. Of more than `max_tokens` + 1 tokens the first ones are
// dropped. Throws Error naming `where` if nothing is left to be scored.
ScoredSequence EncodePair(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                          int64_t max_tokens, std::string_view where);

// Sequences of one group share the computation of what they begin with alike; groups are computed together,
// up to about `max_rows` tokens at a time. Calls `done` with the number of groups that are finished. The
// order of results is that of the sequences.
std::vector<std::vector<SequenceScore>> ScoreSequences(const Decoder& decoder,
                                                       const std::vector<std::vector<ScoredSequence>>& groups,
                                                       int64_t max_rows,
                                                       const std::function<void(int64_t done)>& done);

}  // namespace gptq
