// The MLP of a block, and the same function for one expert of many.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compute/backend.h"
#include "model/stage.h"

namespace gptq {

// Roles of an MLP's linears.
struct MlpRoles {
  std::string_view gate, up, gate_up, down;
};
inline constexpr MlpRoles kMlpRoles{"gate", "up", "gate_up", "down"};
inline constexpr MlpRoles kExpertRoles{"expert_gate", "expert_up", "expert_gate_up", "expert_down"};
inline constexpr MlpRoles kSharedExpertRoles{"shared_expert_gate", "shared_expert_up",
                                             "shared_expert_gate_up", "shared_expert_down"};

// Adds an MLP's linears, each stage's as one group.
void AddMlp(const ModelSpec& spec, WeightSource& source, const MlpRoles& roles, int64_t block,
            int64_t intermediate, int64_t expert, Stage& input, Stage& output);

// What the down projection reads, in scratch slot `slot`; the two behind it are used as well.
MatrixView MlpHidden(Backend& backend, const ModelSpec& spec, std::span<const LinearLayer> linears,
                     MatrixView x, int slot);

}  // namespace gptq
