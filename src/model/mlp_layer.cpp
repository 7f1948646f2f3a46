#include "model/mlp_layer.h"

namespace gptq {

void AddMlp(const ModelSpec& spec, WeightSource& source, const MlpRoles& roles, int64_t block,
            int64_t intermediate, int64_t expert, Stage& input, Stage& output) {
  const size_t first_input = input.linears.size(), first_output = output.linears.size();
  const auto add = [&](std::string_view role, int64_t outputs) {
    input.linears.push_back(LoadLinear(spec, source, role, block, outputs, spec.hidden, expert));
  };
  if (spec.gated && spec.Has(roles.gate_up)) {
    add(roles.gate_up, 2 * intermediate);
  } else {
    if (spec.gated) add(roles.gate, intermediate);
    add(roles.up, intermediate);
  }
  output.linears.push_back(LoadLinear(spec, source, roles.down, block, spec.hidden, intermediate, expert));
  input.CloseGroup(first_input, expert);
  output.CloseGroup(first_output, expert);
}

MatrixView MlpHidden(Backend& backend, const ModelSpec& spec, std::span<const LinearLayer> linears,
                     MatrixView x, int slot) {
  if (!spec.gated) {
    const MatrixView activated = Apply(backend, linears[0], x, slot);
    backend.Activate(spec.activation, activated, nullptr);
    return activated;
  }
  MatrixView gate, up;
  if (linears.size() == 1) {
    const MatrixView both = Apply(backend, linears[0], x, slot + 2);
    const int64_t width = both.columns / 2;
    gate = backend.Scratch(slot, x.rows, width);
    up = backend.Scratch(slot + 1, x.rows, width);
    backend.CopyColumns(both, {}, gate, {}, 1, width);
    backend.CopyColumns(both, {width, 0}, up, {}, 1, width);
  } else {
    const std::array<MatrixView, kMostTogether> both = ApplyTogether(backend, linears.first(2), x, slot);
    gate = both[0];
    up = both[1];
  }
  backend.Activate(spec.activation, gate, &up);
  return gate;
}

}  // namespace gptq
