#include "model/block.h"

#include <algorithm>

#include "model/mlp_layer.h"

namespace gptq {

Block::Block(const ModelSpec& spec, int64_t index, WeightSource& source)
    : spec_(spec), attention_(spec, index, source, stages_) {
  attention_branch_ = LoadBranch("attention_norm", "attention_output_norm", index, source);
  mlp_branch_ = LoadBranch("mlp_norm", "mlp_output_norm", index, source);
  if (!attention_branch_.output_norm) stages_.back().added_scale = spec.residual_scale;
  if (spec.layer[static_cast<size_t>(index)].experts) {
    experts_.emplace(spec, index, source, stages_);
    return;
  }
  Stage input, output;
  input.name = "mlp_input";
  output.name = "mlp_output";
  output.adds_to_hidden = true;
  if (!mlp_branch_.output_norm) output.added_scale = spec.residual_scale;
  AddMlp(spec, source, kMlpRoles, index, spec.intermediate, -1, input, output);
  stages_.push_back(std::move(input));
  stages_.push_back(std::move(output));
}

Block::Branch Block::LoadBranch(std::string_view input_role, std::string_view output_role, int64_t index,
                                WeightSource& source) const {
  Branch branch;
  if (spec_.Has(input_role)) branch.input_norm = LoadNorm(spec_, source, input_role, index, spec_.hidden);
  if (spec_.Has(output_role)) branch.output_norm = LoadNorm(spec_, source, output_role, index, spec_.hidden);
  return branch;
}

// The next stage's input: the residual stream, normalized first where the family does so.
void Block::MakeInput(Backend& backend, const Branch& branch, BlockState& state) const {
  backend.Resize(state.input, state.hidden.rows(), state.hidden.columns());
  if (spec_.block == BlockShape::kPreNorm && branch.input_norm) {
    Normalize(backend, spec_, *branch.input_norm, state.hidden.view(), state.input.view());
  } else {
    backend.Copy(state.hidden.view(), state.input.view());
  }
}

void Block::AddBranch(Backend& backend, const Branch& branch, MatrixView result, BlockState& state) const {
  if (branch.output_norm) Normalize(backend, spec_, *branch.output_norm, result, result);
  if (spec_.residual_scale != 1) backend.Scale(result, static_cast<float>(spec_.residual_scale));
  backend.Add(state.hidden.view(), result);
  if (spec_.block == BlockShape::kPostNorm && branch.input_norm)
    Normalize(backend, spec_, *branch.input_norm, state.hidden.view(), state.hidden.view());
}

void Block::Begin(Backend& backend, BlockState& state) const { MakeInput(backend, attention_branch_, state); }

void Block::Advance(Backend& backend, size_t stage, const PositionTables& positions,
                    BlockState& state) const {
  CHECK(stage < stages_.size());
  const size_t mlp = mlp_stage();
  if (stage + 2 < mlp) return;  // the second stage's inputs are made of the first one's
  if (stage + 2 == mlp) {
    attention_.Run(backend, stages_, positions, state);
  } else if (stage + 1 == mlp) {
    const MatrixView result = Apply(backend, stages_[stage].linears[0], state.input.view(), 0);
    const bool parallel = spec_.residual == ResidualShape::kParallel;
    const Branch& norms = mlp_branch_.input_norm || !parallel ? mlp_branch_ : attention_branch_;
    if (parallel) MakeInput(backend, norms, state);  // of the stream before this block's attention
    AddBranch(backend, attention_branch_, result, state);
    if (!parallel) MakeInput(backend, norms, state);
  } else if (stage == mlp) {
    if (experts_) return;
    MlpHidden(backend, spec_, stages_[stage].linears, state.input.view(), 0);
    backend.SwapScratch(0, state.input);
  } else {
    const MatrixView result =
        experts_ ? experts_->Run(backend, stages_[stage - 1], stages_[stage], state.input.view())
                 : Apply(backend, stages_[stage].linears[0], state.input.view(), 0);
    AddBranch(backend, mlp_branch_, result, state);
    state.input.Resize(0, 0);
  }
}

void Block::Forward(Backend& backend, const PositionTables& positions, BlockState& state) const {
  Begin(backend, state);
  for (size_t stage = 0; stage < stages_.size(); ++stage) Advance(backend, stage, positions, state);
}

int64_t Block::InputColumns(size_t stage) const {
  const bool made_of_hidden = stage + 1 < mlp_stage() || (experts_ && stage >= mlp_stage());
  return made_of_hidden ? spec_.hidden : stages_[stage].linears.front().weight.columns();
}

std::array<int64_t, Backend::kScratchSlots> Block::ScratchColumns() const {
  std::array<int64_t, Backend::kScratchSlots> slots{spec_.query_width(), spec_.kv_width(),
                                                    spec_.value_width()};
  const auto at_least = [&](size_t slot, int64_t columns) { slots[slot] = std::max(slots[slot], columns); };
  for (size_t stage = 0; stage + 1 < mlp_stage(); ++stage) {  // fused or latent
    for (const LinearLayer& linear : stages_[stage].linears) {
      if (mlp_stage() == 3 || stages_[0].linears.size() == 1) at_least(3, linear.weight.rows());
      if (stage == 1) at_least(4, linear.weight.columns());
    }
  }
  at_least(5, spec_.latent.rotary_dim);
  at_least(0, spec_.hidden);
  const size_t first = experts_ ? 2 : 0;  // of an MLP's slots
  for (size_t group = 0; group < stages_[mlp_stage()].groups.size(); ++group) {
    const LinearGroup& linears = stages_[mlp_stage()].groups[group];
    const int64_t outputs = stages_[mlp_stage()].linears[linears.first].weight.rows();
    const bool fused = spec_.gated && linears.count == 1;
    at_least(first, fused ? outputs / 2 : outputs);
    if (spec_.gated) at_least(first + 1, fused ? outputs / 2 : outputs);
    if (fused) at_least(first + 2, outputs);
  }
  if (experts_) {
    at_least(1, spec_.hidden);
    at_least(2, spec_.experts.experts);
    at_least(5, spec_.hidden);
  }
  return slots;
}

std::vector<std::optional<std::vector<int32_t>>> Block::GroupRows(Backend& backend, size_t stage,
                                                                  const BlockState& state) const {
  std::vector<std::optional<std::vector<int32_t>>> rows(stages_[stage].groups.size());
  if (!experts_ || stage < mlp_stage()) return rows;
  std::vector<ExpertTokens> tokens = experts_->Route(backend, state.input.view());
  for (size_t group = 0; group < rows.size(); ++group) {
    const int64_t expert = stages_[stage].groups[group].expert;
    if (expert >= 0) rows[group] = std::move(tokens[static_cast<size_t>(expert)].rows);
  }
  return rows;
}

MatrixView Block::GroupInput(Backend& backend, size_t stage, size_t group, const BlockState& state,
                             const std::vector<int32_t>* rows) const {
  const size_t mlp = mlp_stage();
  if (experts_ && stage >= mlp) {
    return experts_->GroupInput(backend, stages_[mlp], group, stage > mlp, state.input.view(), rows);
  }
  if (stage == 1 && mlp == 3) return attention_.LatentInput(backend, stages_, group, state.input.view());
  return state.input.view();
}

std::vector<float> Block::ReceivedAttention(Backend& backend, const PositionTables& positions,
                                            const BlockState& state) const {
  std::vector<float> received = attention_.ReceivedAttention(backend, stages_, positions, state);
  for (int64_t s = 0; s < state.sequences; ++s) {
    const std::span<float> tokens =
        std::span(received).subspan(static_cast<size_t>(s * state.tokens), static_cast<size_t>(state.tokens));
    const float greatest = *std::ranges::max_element(tokens);
    for (float& weight : tokens) {
      weight = std::max(weight / greatest, 0.01f);
      weight *= weight;
    }
  }
  return received;
}

}  // namespace gptq
