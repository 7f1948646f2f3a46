#include "quant/solve_result.h"

#include <algorithm>

#include "base/error.h"

namespace gptq {
namespace {

// Codes {0, 1, 2} of {-scale, 0, scale} become {1, 2, 3} around a zero of 2. Where the minimum is 0, code 0
// is 0 too.
void FillTernary(const SolveResult& result, std::string_view name, PackedWeight& packed) {
  for (size_t i = 0; i < result.scales.size(); ++i) {
    if (result.zeros[i] != 0.0f && result.scales[i] != 0.0f && result.zeros[i] != -result.scales[i]) {
      throw Error("a ternary grid that is not symmetric cannot be stored", name,
                  "quantize with --symmetric, or keep the result of `gptq solve`");
    }
    packed.scales[i] = std::max(result.scales[i], -result.zeros[i]);
  }
  for (int64_t r = 0; r < result.rows; ++r) {
    for (int64_t c = 0; c < result.columns; ++c) {
      const int64_t group = r * result.groups + result.group_index[c];
      const uint8_t code = result.codes[r * result.columns + c];
      const float value = code == 2 ? result.scales[group] : code == 0 ? result.zeros[group] : 0.0f;
      packed.codes[r * result.columns + c] = static_cast<uint8_t>(value > 0 ? 3 : value < 0 ? 1 : 2);
    }
  }
}

}  // namespace

PackedWeight ToPackedWeight(const SolveResult& result, const SolverOptions& options, std::string_view name) {
  PackedWeight packed;
  packed.rows = result.rows;
  packed.columns = result.columns;
  packed.groups = result.groups;
  packed.group_size = options.GroupColumns(result.columns);
  packed.bits = options.ternary ? 2 : options.bits;
  packed.symmetric = options.symmetric || options.ternary;
  packed.scale_type = options.scale_type;
  packed.codes = result.codes;
  packed.scales = result.scales;
  packed.zeros.assign(result.zeros.size(), 2);
  packed.group_index = result.group_index;
  if (options.ternary) {
    FillTernary(result, name, packed);
  } else {
    std::transform(result.zeros.begin(), result.zeros.end(), packed.zeros.begin(),
                   [](float zero) { return static_cast<int16_t>(zero); });
  }
  return packed;
}

}  // namespace gptq
