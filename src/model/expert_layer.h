// A mixture of experts in the place of an MLP: a router chooses some of them for each token.
#pragma once

#include <cstdint>
#include <vector>

#include "compute/backend.h"
#include "model/stage.h"

namespace gptq {

// The tokens that go to one expert, and what its output is multiplied with.
struct ExpertTokens {
  std::vector<int32_t> rows;
  std::vector<float> factors;
};

// Both stages' inputs are made of what the MLP reads: what experts hold inside is computed when it is needed,
// so that it need not be kept for all tokens at once. Uses the backend's scratch memory, all slots.
class ExpertLayer {
 public:
  // Loads the experts of block `index` and adds their stages. Router and shared expert's gate are no linears
  // of these: they stay as they are.
  ExpertLayer(const ModelSpec& spec, int64_t index, WeightSource& source, std::vector<Stage>& stages);

  // Of all experts.
  std::vector<ExpertTokens> Route(Backend& backend, MatrixView x) const;
  // What group `group` of the stage reads; `rows` of x, null: all.
  MatrixView GroupInput(Backend& backend, const Stage& input, size_t group, bool output_stage, MatrixView x,
                        const std::vector<int32_t>* rows) const;
  // The layer's output for x, in scratch memory.
  MatrixView Run(Backend& backend, const Stage& input, const Stage& output, MatrixView x) const;

 private:
  const ModelSpec& spec_;
  Weight router_, shared_gate_;                   // shared_gate_ may be empty
  std::vector<float> router_bias_, choice_bias_;  // of the router's linear; added for the choice only
};

// The experts' scores for one token -> the chosen ones and their factors, as `spec` says. `choice_bias` may
// be empty.
struct Choice {
  std::vector<int32_t> experts;
  std::vector<float> factors;
};
Choice ChooseExperts(const ExpertSpec& spec, std::span<const float> router_outputs,
                     std::span<const float> choice_bias);

}  // namespace gptq
