// How to quantize. The same options as on the command line (gptq quantize --help), under the same names: what
// is absent has the recipe's value. Values that cannot be are found when the options are used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace gptq {

// Of one matrix.
struct QualityOptions {
  // "default"; "best": slower; "reference": works as the published program (IST-DASLab/gptq).
  std::string recipe = "default";
  std::string method = "gptq";        // or "rtn": round to nearest, which needs no inputs
  std::optional<double> bits;         // 2 to 8 (default 4); 1.58 = ternary, where the format allows it
  std::optional<int64_t> group_size;  // columns that share a scale (default 128); -1 = the whole row
  std::optional<bool> symmetric;      // zeros in the middle of the grid (default); false: each group its own
  std::optional<std::string> order;   // of the columns: "natural", "activation", "pivot", "group" (default)
  bool static_groups = false;         // all grids from the original weights
  std::optional<std::string> group_grid;      // "up-to-date" (default), "reference"
  std::optional<std::string> clip;            // "none", "mse", "hessian" (default, but for "rtn" and ternary)
  std::optional<std::string> symmetric_grid;  // "plain", "full-range" (default)
  std::optional<int> refits;                  // rounds of fitting scales and zeros to the codes
  std::optional<int> sweeps;                  // rounds of coordinate descent over the finished codes
  std::optional<double> damping;              // share of the mean diagonal added to H (default 0.01)
  std::optional<int64_t> block_size;          // columns whose updates are applied lazily (default 128)
  // "float16" (default for models), "bfloat16", "float32" (default for matrices)
  std::optional<std::string> scale_type;
};

// Of a whole model.
struct ModelOptions {
  QualityOptions quality;
  // "gptq" (v1), "gptq_v2", "compressed-tensors", "gguf"; empty: v1 for symmetric grids, v2 for others
  std::string format;
  // With "gguf": "q4_0", "q4_k" ..., the linears' type, on whose own grids they are solved, instead of
  // quality.bits, group_size and symmetric; empty: the smallest type that keeps these
  std::string type;
  // Of the embedding in a GGUF file: 16, 8, 6 or 4, rounded to nearest; absent: as it is, at most 16.
  std::optional<int> embedding_bits;
  // Of the head, by quality.method: what the format holds, in GGUF 8, 6 or 4; absent or 16: as it is.
  std::optional<int> head_bits;
  bool overwrite = false;
  std::filesystem::path calibration;         // .txt, .jsonl or .safetensors; empty: a built-in set
  int64_t samples = 128;                     // calibration sequences
  std::optional<int64_t> sequence_length;    // their tokens (default 2048, or what the model takes)
  uint64_t seed = 0;                         // of the choice of samples
  std::optional<int64_t> sink_sequences;     // extra sequences of one token (default 512)
  std::string token_weighting = "none";      // or "attention": tokens count by the attention they receive
  std::string calibrate_experts = "routed";  // by the tokens that go to each; "all": by all tokens
  // 0 to 1: how far to aim at the unquantized model's outputs (default 0)
  std::optional<double> asymmetric_calibration;
  // 0 to 1: how far to bring back what the residual stream has lost (default 0)
  std::optional<double> residual_correction;
  // Instead of quality.bits: stored bits per weight, scales and zeros counted; 2, 3, 4 or 8 bits and one of
  // the group sizes are chosen for each linear by measured sensitivity.
  std::optional<double> target_bits;
  std::vector<int64_t> group_sizes;                   // to choose from; empty: 32, 64, 128
  std::vector<std::pair<std::string, int>> bits_for;  // regular expression on linears' names -> bits
  std::vector<std::string> skip;                      // regular expressions: linears to leave as they are
  std::filesystem::path architecture;                 // architecture file; empty: the built-in ones
};

}  // namespace gptq
