// What a decoder computes, every number filled in.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "compute/backend.h"
#include "model/architecture.h"
#include "model/rotary.h"

namespace gptq {

// Where a block normalizes: what a branch reads (and, where the architecture names such norms, what it adds),
// or the residual stream after each addition.
enum class BlockShape { kPreNorm, kPostNorm };
// The MLP reads the residual stream behind the attention, or, beside it, the one before.
enum class ResidualShape { kSequential, kParallel };
enum class PositionKind { kRotary, kLearned, kAlibi, kNone };
// Norms of queries and keys: of each head with one weight for all, or with its own; or of all heads as one
// row.
enum class HeadNorm { kNone, kHead, kEachHead, kFull };
// Rows of a fused projection: all queries, all keys, all values; or so for each key/value head and its
// queries.
enum class FusedLayout { kConcatenated, kGrouped };

// Linear biases of attention (arXiv 2108.12409), as families vary them.
struct AlibiSpec {
  bool scaled = false;    // by the attention scale, as the scores are
  bool bfloat16 = false;  // slopes and products are rounded
};

// Multi-head latent attention (arXiv 2405.04434); rank 0: the model has none.
struct LatentSpec {
  int64_t query_rank = 0;  // 0: queries are projected directly
  int64_t rank = 0;        // of keys and values
  int64_t plain_dim = 0, rotary_dim = 0,
          value_dim = 0;  // of a head; its queries and keys are plain, then rotary
  double norm_epsilon = 1e-6;
};

// Mixture of experts; experts 0: the model has none.
struct ExpertSpec {
  int64_t experts = 0, per_token = 0;
  int64_t intermediate = 0;
  int64_t shared_intermediate = 0;  // of the shared expert; 0: none
  bool sigmoid = false;             // scores; else softmax over all experts
  bool normalized = false;          // the chosen experts' scores are divided by their sum
  double scale = 1.0;
  int64_t groups = 1, groups_per_token = 1;  // experts are chosen from the best groups only
  bool group_by_two = false;                 // a group's score is the sum of its best two, else its best one
};

struct LayerSpec {
  int64_t window = 0;  // keys that a token sees; 0: all before it
  bool rotary = false;
  bool window_rotary = false;  // by ModelSpec::window_rotary
  bool experts = false;
  double attention_scale = 1.0;
};

// Built once from an architecture file and config.json; read-only afterwards.
struct ModelSpec {
  std::string architecture;
  std::string where;                                             // the config's file, for messages
  std::map<std::string, std::string, std::less<>> tensor_names;  // of roles; Hugging Face's names
  std::map<std::string, std::string, std::less<>> gguf_names;    // of roles; those of GGUF
  std::string optional_prefix;                                   // of names; files may lack it

  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;  // of a head
  int64_t vocabulary = 0;
  int64_t embedding_width = 0;  // differs from hidden where the model projects (OPT-350m)
  int64_t max_positions = 0;
  std::vector<LayerSpec> layer;      // one each
  int64_t loops = 1;                 // how often the blocks are run, one after the other
  std::vector<double> loop_weights;  // of each loop's inputs in calibration

  BlockShape block = BlockShape::kPreNorm;
  ResidualShape residual = ResidualShape::kSequential;
  NormKind norm = NormKind::kRms;
  double norm_epsilon = 1e-5;
  float norm_offset = 0;     // added to norms' weights
  bool norm_weights = true;  // false: norms have none
  HeadNorm query_key_norm = HeadNorm::kNone;
  ActivationKind activation = ActivationKind::kSilu;
  bool gated = true;
  bool tied_head = false;
  bool transposed_linears = false;  // stored [inputs, outputs]
  FusedLayout fused_layout = FusedLayout::kConcatenated;
  bool causal = true;
  std::optional<int32_t> mask_token;  // stands for what a model that sees both ways is to guess

  PositionKind positions = PositionKind::kRotary;
  int64_t position_offset = 0;  // rows of the position table before position 0
  RotarySpec rotary, window_rotary;
  AlibiSpec alibi;

  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;
  double attention_softcap = 0, logit_softcap = 0;  // 0: none
  double clip_qkv = 0;                              // limit of queries, keys and values; 0: none

  LatentSpec latent;
  ExpertSpec experts;

  int64_t query_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }       // of the keys
  int64_t value_width() const { return kv_heads * value_dim; }   // of the values
  int64_t attention_width() const { return heads * value_dim; }  // of the attention's result
  bool Has(std::string_view role) const { return tensor_names.contains(role); }
  // Name without ".weight" / ".bias". `block` < 0 for tensors outside the blocks; `part`: expert or head.
  std::string Name(std::string_view role, int64_t block = -1, int64_t part = -1) const;
  // Throws Error where tokens see those behind them: such a model predicts no next token.
  void CheckPredictsNext() const;
  // Names no longer begin with the optional prefix.
  void DropPrefix();
};

// Throws Error naming `where` and the key for values that are missing, absurd, contradictory or unknown.
ModelSpec BuildSpec(const Architecture& architecture, const Json& config, std::string_view where);

}  // namespace gptq
