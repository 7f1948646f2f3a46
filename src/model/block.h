// One transformer block as a sequence of stages: the steps up to and including the linears whose inputs are
// made of one matrix.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "compute/backend.h"
#include "model/attention_layer.h"
#include "model/expert_layer.h"
#include "model/kv_cache.h"
#include "model/positions.h"
#include "model/spec.h"
#include "model/stage.h"
#include "model/weight_source.h"

namespace gptq {

// Forward = Begin, then Advance for each stage in order. The quantizer runs the same steps over all samples
// and looks at the groups' inputs on the way, before it replaces the stage's weights.
class Block {
 public:
  // Loads block `index`; missing tensors and wrong shapes are errors. `spec` must outlive it.
  Block(const ModelSpec& spec, int64_t index, WeightSource& source);

  std::vector<Stage>& stages() { return stages_; }
  const std::vector<Stage>& stages() const { return stages_; }

  // Computes the first stage's input from `state.hidden`.
  void Begin(Backend& backend, BlockState& state) const;
  // Runs the linears of stage `stage` on `state.input` and the steps up to the next stage's input; after the
  // last one `state.hidden` is the block's output and `state.input` is empty, but keeps its memory.
  void Advance(Backend& backend, size_t stage, const PositionTables& positions, BlockState& state) const;
  void Forward(Backend& backend, const PositionTables& positions, BlockState& state) const;

  // Of `state.input` at the input of a stage.
  int64_t InputColumns(size_t stage) const;
  // Of the backend's scratch memory, that a token takes in each slot.
  std::array<int64_t, Backend::kScratchSlots> ScratchColumns() const;
  // At the input of a stage: for each of its groups, the rows of `state.input` that go to its expert;
  // nullopt: all rows.
  std::vector<std::optional<std::vector<int32_t>>> GroupRows(Backend& backend, size_t stage,
                                                             const BlockState& state) const;
  // What the linears of a group read, of `rows` of `state.input` (null: all); valid until the backend is used
  // again.
  MatrixView GroupInput(Backend& backend, size_t stage, size_t group, const BlockState& state,
                        const std::vector<int32_t>* rows) const;
  // At the first stage's input, of each token: the attention it gets from all queries of its sequence and all
  // heads, divided by the greatest of its sequence, at least 0.01, squared: the tokens' weights of RSQ (arXiv
  // 2503.01820).
  std::vector<float> ReceivedAttention(Backend& backend, const PositionTables& positions,
                                       const BlockState& state) const;

 private:
  // Norms around a branch; absent where the architecture names none.
  struct Branch {
    std::optional<NormLayer> input_norm, output_norm;
  };

  Branch LoadBranch(std::string_view input_role, std::string_view output_role, int64_t index,
                    WeightSource& source) const;
  size_t mlp_stage() const { return attention_.input_stages() + 1; }  // the first one of the MLP
  void MakeInput(Backend& backend, const Branch& branch, BlockState& state) const;
  // Adds the branch's result to the residual stream.
  void AddBranch(Backend& backend, const Branch& branch, MatrixView result, BlockState& state) const;

  const ModelSpec& spec_;
  std::vector<Stage> stages_;
  AttentionLayer attention_;
  Branch attention_branch_, mlp_branch_;
  std::optional<ExpertLayer> experts_;  // in the place of an MLP
};

}  // namespace gptq
