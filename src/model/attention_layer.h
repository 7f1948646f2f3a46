// The attention of a block: from the stages' linears to its result, one row of all heads a token.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compute/backend.h"
#include "model/kv_cache.h"
#include "model/positions.h"
#include "model/stage.h"

namespace gptq {

// Plain (queries, keys and values, fused or not) or latent (arXiv 2405.04434). Uses the backend's scratch
// memory, all slots.
class AttentionLayer {
 public:
  // Loads the attention of block `index` and adds its stages: attention_input, with latent attention
  // attention_latent, and attention_output.
  AttentionLayer(const ModelSpec& spec, int64_t index, WeightSource& source, std::vector<Stage>& stages);

  // Stages before attention_output: 1 or 2.
  size_t input_stages() const { return spec_.latent.rank > 0 ? 2 : 1; }
  // What group `group` of the second input stage reads, from `x`, which the first one's linears read.
  MatrixView LatentInput(Backend& backend, const std::vector<Stage>& stages, size_t group,
                         MatrixView x) const;
  // Replaces state.input, what the first stage's linears read, by the attention's result [rows, heads *
  // value_dim]. Keys and values go to the caches if there are any.
  void Run(Backend& backend, const std::vector<Stage>& stages, const PositionTables& positions,
           BlockState& state) const;
  // Of each key, the attention it gets from all queries and heads. [rows]
  std::vector<float> ReceivedAttention(Backend& backend, const std::vector<Stage>& stages,
                                       const PositionTables& positions, const BlockState& state) const;

 private:
  struct Projections {
    MatrixView query, key, value;  // in the backend's scratch memory
  };

  void AddPlainStage(int64_t index, WeightSource& source, std::vector<Stage>& stages) const;
  void AddLatentStages(int64_t index, WeightSource& source, std::vector<Stage>& stages);
  NormLayer LoadHeadNorm(std::string_view role, int64_t index, int64_t heads, WeightSource& source) const;
  void NormalizeHeads(Backend& backend, const NormLayer& norm, MatrixView x) const;
  Projections Split(Backend& backend, MatrixView fused) const;
  Projections ProjectPlain(Backend& backend, const Stage& stage, const PositionTables& positions,
                           const BlockState& state) const;
  Projections ProjectLatent(Backend& backend, const std::vector<Stage>& stages,
                            const PositionTables& positions, const BlockState& state) const;
  Projections Project(Backend& backend, const std::vector<Stage>& stages, const PositionTables& positions,
                      const BlockState& state) const;
  void Rotate(Backend& backend, const PositionTables& positions, const BlockState& state, int64_t head_dim,
              int64_t first_dimension, MatrixView x) const;
  AttentionShape ShapeOf(const PositionTables& positions, const BlockState& state) const;

  const ModelSpec& spec_;
  const LayerSpec& layer_;
  NormLayer query_norm_, key_norm_;                // of heads
  NormLayer query_latent_norm_, key_latent_norm_;  // of latent attention
};

}  // namespace gptq
