// Unigram tokens (Kudo 2018, "Subword Regularization"): of all ways to cut a piece into tokens the one with
// the largest sum of their scores, which are logarithms of probabilities.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/pair_table.h"
#include "text/subword_model.h"
#include "text/vocabulary.h"

namespace gptq {

struct UnigramOptions {
  bool byte_fallback = false;                     // characters without a token become "<0xNN>" tokens
  std::optional<int32_t> unknown = std::nullopt;  // else one for a run of them; none: they are dropped
};

class UnigramModel : public SubwordModel {
 public:
  // scores: [vocabulary.size()]; tokens that the vocabulary does not find take no part. The vocabulary must
  // outlive the model. Throws Error naming `where` for scores that are no numbers.
  UnigramModel(const Vocabulary& vocabulary, const std::vector<double>& scores, const UnigramOptions& options,
               std::string_view where);

  // O(bytes * longest token).
  void Encode(std::string_view piece, WordCache& cache, std::vector<int32_t>& ids) const override;

 private:
  struct Step {
    double score;
    size_t begin;   // of the best token that ends here
    int32_t token;  // kUnknown: a character that is none
    bool reached;
  };
  void AddToken(std::string_view text, int32_t token);
  void Extend(std::string_view piece, size_t begin, std::vector<Step>& steps) const;
  void Emit(std::string_view piece, const std::vector<Step>& steps, std::vector<int32_t>& ids) const;
  bool EmitBytes(std::string_view text, std::vector<int32_t>& ids) const;

  UnigramOptions options_;
  std::vector<double> scores_;
  double unknown_score_;
  std::array<int32_t, 256> byte_tokens_;  // -1: none
  // A trie over bytes: (node, byte) -> node; which token ends at a node, or -1.
  PairTable children_;
  std::vector<int32_t> token_at_;
};

}  // namespace gptq
