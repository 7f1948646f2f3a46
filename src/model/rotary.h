// Rotary position embeddings (arXiv 2104.09864) and their scalings.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "compute/backend.h"

namespace gptq {

enum class RotaryScaling { kNone, kLinear, kLlama3, kYarn };

struct RotarySpec {
  double base = 10000.0;
  int64_t dimensions = 0;  // of a head that are turned
  RotaryScaling scaling = RotaryScaling::kNone;
  double factor = 1.0;
  double original_positions = 0;             // llama3, yarn
  double low_frequency_factor = 1.0;         // llama3
  double high_frequency_factor = 4.0;        // llama3
  double beta_fast = 32.0, beta_slow = 1.0;  // yarn
  double attention_factor = 1.0;             // multiplies cos and sin (yarn)
  bool truncate = true;                      // yarn: correction dimensions rounded outwards
};

// From `rope_parameters` (new) or `rope_theta` and `rope_scaling` (old keys). Unknown kinds are errors naming
// `where`.
RotarySpec ReadRotarySpec(const Json& config, double default_base, int64_t dimensions, double max_positions,
                          std::string_view where);

// Angular frequency of each pair of dimensions [dimensions / 2].
std::vector<double> RotaryFrequencies(const RotarySpec& spec);

// Table for positions [0, positions).
RotaryTable MakeRotaryTable(const RotarySpec& spec, int64_t positions);

}  // namespace gptq
