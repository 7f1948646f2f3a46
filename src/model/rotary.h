// Rotary position embeddings (arXiv 2104.09864) and their scalings.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "compute/backend.h"

namespace gptq {

enum class RotaryScaling { kNone, kLinear, kLlama3, kYarn, kLongRope };

struct RotarySpec {
  double base = 10000.0;
  int64_t dimensions = 0;  // of a head that are turned
  RotaryScaling scaling = RotaryScaling::kNone;
  double factor = 1.0;
  double original_positions = 0;             // llama3, yarn, longrope
  double low_frequency_factor = 1.0;         // llama3
  double high_frequency_factor = 4.0;        // llama3
  double beta_fast = 32.0, beta_slow = 1.0;  // yarn
  double attention_factor = 1.0;             // multiplies cos and sin (yarn, longrope)
  double score_factor = 1.0;                 // what some families multiply the attention's scale with (yarn)
  bool truncate = true;                      // yarn: correction dimensions rounded outwards
  // longrope: divisors of the frequencies, in sequences of at most original_positions and in longer ones
  std::vector<double> short_factors, long_factors;
  bool interleaved = false;  // pairs are neighbours
};

// What a config says of rotary embeddings.
struct RotarySource {
  double base = 10000.0;
  Json scaling;            // `rope_parameters` or `rope_scaling`; null: none
  int64_t dimensions = 0;  // of a head that are turned
  double max_positions = 0;
  double original_positions = 0;  // where `scaling` does not say
  std::string_view where;         // the config's file
};

// Unknown kinds and strange values are errors naming `where`.
RotarySpec ReadRotarySpec(const RotarySource& source);

// Angular frequency of each pair of dimensions [dimensions / 2], in sequences of up to `tokens` tokens.
std::vector<double> RotaryFrequencies(const RotarySpec& spec, int64_t tokens = 0);

// Table for positions [0, positions), in sequences of up to `tokens` tokens.
RotaryTable MakeRotaryTable(const RotarySpec& spec, int64_t positions, int64_t tokens = 0);

}  // namespace gptq
