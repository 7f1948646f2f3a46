#include "model/positions.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"

namespace gptq {
namespace {

float RoundToBfloat16(float value) { return BFloat16ToFloat(FloatToBFloat16(value)); }

// Slope times key position: the same after the softmax as slope times distance.
std::vector<float> AlibiBiases(const ModelSpec& spec, int64_t positions) {
  const std::vector<float> slopes = AlibiSlopes(spec.heads);
  const float scale = spec.alibi.scaled ? static_cast<float>(spec.layer.front().attention_scale) : 1.0f;
  std::vector<float> biases;
  biases.reserve(static_cast<size_t>(spec.heads * positions));
  for (const float slope : slopes) {
    for (int64_t p = 0; p < positions; ++p) {
      const auto position = static_cast<float>(p);
      const float bias = spec.alibi.bfloat16
                             ? RoundToBfloat16(RoundToBfloat16(slope) * RoundToBfloat16(position))
                             : slope * position;
      biases.push_back(bias * scale);
    }
  }
  return biases;
}

}  // namespace

std::vector<float> AlibiSlopes(int64_t heads) {
  int64_t power = 1;
  while (power * 2 <= heads) power *= 2;
  std::vector<float> slopes;
  for (int64_t i = 1; i <= heads; ++i) {
    // Heads beyond the power of two take every second slope of twice as many heads.
    const double exponent =
        i <= power ? -8.0 * static_cast<double>(i) / static_cast<double>(power)
                   : -4.0 * static_cast<double>(2 * (i - power) - 1) / static_cast<double>(power);
    slopes.push_back(static_cast<float>(std::pow(2.0, exponent)));
  }
  return slopes;
}

PositionTables::Tables PositionTables::MakeTables(const RotarySpec& spec, int64_t positions) {
  Tables tables;
  const bool differs =
      spec.scaling == RotaryScaling::kLongRope && static_cast<double>(positions) > spec.original_positions;
  tables.original_positions = differs ? spec.original_positions : static_cast<double>(positions);
  const auto shorter = static_cast<int64_t>(tables.original_positions);
  tables.up_to_original = MakeRotaryTable(spec, shorter, shorter);
  if (differs) tables.longer = MakeRotaryTable(spec, positions, positions);
  return tables;
}

PositionTables::PositionTables(const ModelSpec& spec, int64_t positions) : positions_(positions) {
  if (std::ranges::any_of(spec.layer, [](const LayerSpec& l) { return l.rotary && !l.window_rotary; }))
    all_ = MakeTables(spec.rotary, positions);
  if (std::ranges::any_of(spec.layer, [](const LayerSpec& l) { return l.rotary && l.window_rotary; }))
    window_ = MakeTables(spec.window_rotary, positions);
  if (spec.positions == PositionKind::kAlibi) alibi_ = AlibiBiases(spec, positions);
}

const RotaryTable& PositionTables::Rotary(const LayerSpec& layer, int64_t tokens) const {
  CHECK(layer.rotary && tokens <= positions_);
  const Tables& tables = layer.window_rotary ? window_ : all_;
  return static_cast<double>(tokens) > tables.original_positions ? tables.longer : tables.up_to_original;
}

}  // namespace gptq
