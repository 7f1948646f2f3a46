// What a decoder computes, every number filled in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "compute/backend.h"
#include "model/architecture.h"
#include "model/rotary.h"

namespace gptq {

enum class BlockShape { kPreNorm, kPostNorm };
enum class PositionKind { kRotary, kLearned };

// Built once from an architecture file and config.json; read-only afterwards.
struct ModelSpec {
  std::string architecture;
  std::string where;  // the config's file, for messages
  Json tensor_names;  // role -> name, "{block}" for the block's number; Hugging Face's names

  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocabulary = 0;
  int64_t embedding_width = 0;  // differs from hidden where the model projects (OPT-350m)
  int64_t max_positions = 0;

  BlockShape block = BlockShape::kPreNorm;
  NormKind norm = NormKind::kRms;
  double norm_epsilon = 1e-5;
  ActivationKind activation = ActivationKind::kSilu;
  bool gated = true;
  bool tied_head = false;
  PositionKind positions = PositionKind::kRotary;
  int64_t position_offset = 0;  // rows of the position table before position 0
  RotarySpec rotary;

  int64_t query_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
  bool Has(std::string_view role) const { return tensor_names.contains(role); }
  // Name without ".weight" / ".bias". `block` < 0 for tensors outside the blocks.
  std::string Name(std::string_view role, int64_t block = -1) const;
};

// Throws Error naming `where` and the key for values that are missing, absurd, contradictory or unknown.
ModelSpec BuildSpec(const Architecture& architecture, const Json& config, std::string_view where);

}  // namespace gptq
