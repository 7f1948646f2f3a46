// What blocks add to know positions: rotary tables and linear biases (ALiBi, arXiv 2108.12409).
#pragma once

#include <cstdint>
#include <vector>

#include "compute/backend.h"
#include "model/spec.h"

namespace gptq {

// Slopes of the heads' biases.
std::vector<float> AlibiSlopes(int64_t heads);

// For positions [0, positions) of every layer of a model.
class PositionTables {
 public:
  PositionTables() = default;
  PositionTables(const ModelSpec& spec, int64_t positions);

  // Of a layer with rotary embeddings, for sequences that will have up to `tokens` tokens.
  const RotaryTable& Rotary(const LayerSpec& layer, int64_t tokens) const;
  // What is added to the scores of a key at each position [heads, positions]; null without ALiBi.
  const float* key_bias() const { return alibi_.empty() ? nullptr : alibi_.data(); }
  int64_t positions() const { return positions_; }

 private:
  struct Tables {
    RotaryTable up_to_original, longer;  // the latter only where it differs
    double original_positions = 0;
  };
  static Tables MakeTables(const RotarySpec& spec, int64_t positions);

  int64_t positions_ = 0;
  Tables all_, window_;
  std::vector<float> alibi_;
};

}  // namespace gptq
