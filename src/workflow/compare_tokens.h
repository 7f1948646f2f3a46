// How the predictions of two models differ, token by token.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "compute/backend.h"
#include "text/tokenizer.h"
#include "workflow/text_windows.h"

namespace gptq {

inline constexpr int kTopTokens = 5;

// Of one predicted token, with the logits of models A and B.
struct TokenDifference {
  double divergence = 0;  // Kullback-Leibler, A's probabilities first, nats
  double loss_a = 0;      // -log of the probability of the token that comes
  double loss_b = 0;
  double probability_a = 0;      // of A's most likely token
  double probability_b = 0;      // of B's
  int32_t top_a = 0, top_b = 0;  // most likely tokens, the first ones of equals
  int32_t shared_top = 0;        // how many of A's `kTopTokens` most likely tokens are among B's
};

// Rows of logits [tokens, vocabulary] of both; `targets`: the tokens that come.
void MeasureTokens(Backend& backend, MatrixView a, MatrixView b, std::span<const int32_t> targets,
                   std::span<TokenDifference> out);

// The columns of the `kTopTokens` largest values of a row in descending order, the first ones of equals; -1
// behind the last where the row is shorter.
std::array<int32_t, kTopTokens> TopColumns(std::span<const float> row);

// A token at which the models differ most, as people read it.
struct WorstToken {
  int64_t window = 0, position = 0;  // of the predicted token
  std::string context;               // the text before it, its last tokens
  std::string token, top_a, top_b;   // the token that comes, the models' most likely ones
  TokenDifference difference;
};

// The `count` tokens of the greatest divergence, greatest first, the first ones of equals. `tokens`: those
// predicted from each window in turn.
std::vector<WorstToken> FindWorstTokens(std::span<const TokenDifference> tokens, const TextWindows& windows,
                                        const Tokenizer& tokenizer, int64_t count);

}  // namespace gptq
