#include "workflow/stage_statistics.h"

#include <algorithm>

namespace gptq {

int64_t StatisticsUnit::Bytes() const {
  constexpr int64_t kChunk = 512;  // tokens that wait to be summed
  return Outputs() * (columns + kChunk) * static_cast<int64_t>(sizeof(float));
}

std::vector<StatisticsUnit> StatisticsUnits(const Stage& stage, bool all_tokens,
                                            const std::function<bool(const std::string&)>& wanted) {
  std::vector<StatisticsUnit> units;
  std::optional<size_t> shared;  // the unit of experts that read the MLP's input itself
  for (size_t g = 0; g < stage.groups.size(); ++g) {
    const LinearGroup& group = stage.groups[g];
    const auto linears = std::span(stage.linears).subspan(group.first, group.count);
    if (std::ranges::none_of(linears, [&](const LinearLayer& l) { return wanted(l.name); })) continue;
    const bool expert = stage.groups.front().expert >= 0;
    const bool share = expert && !stage.adds_to_hidden && (all_tokens || group.expert < 0);
    if (share && shared) {
      units[*shared].groups.push_back(g);
      continue;
    }
    if (share) shared = units.size();
    units.push_back({{g}, linears.front().weight.columns(), 0, 0});
  }
  return units;
}

std::vector<std::span<const StatisticsUnit>> PartsInMemory(std::span<const StatisticsUnit> units,
                                                           int64_t bytes) {
  std::vector<std::span<const StatisticsUnit>> parts;
  for (size_t first = 0; first < units.size();) {
    int64_t left = bytes - units[first].Bytes();
    size_t count = 1;
    while (first + count < units.size() && left >= units[first + count].Bytes())
      left -= units[first + count++].Bytes();
    parts.push_back(units.subspan(first, count));
    first += count;
  }
  return parts;
}

InputCounts CountInputs(const Hessian& hessian) {
  constexpr float kOutlying = 6 * 6;  // of squares
  std::vector<float> squares = hessian.view().Diagonal();
  const size_t inputs = squares.size();
  std::erase_if(squares, [](float square) { return !(square > 0); });
  InputCounts counts{static_cast<int64_t>(inputs - squares.size()), 0};
  if (squares.empty()) return counts;
  const auto middle = squares.begin() + static_cast<std::ptrdiff_t>(squares.size() / 2);
  std::ranges::nth_element(squares, middle);
  const float bound = kOutlying * *middle;
  counts.outliers = std::ranges::count_if(squares, [&](float square) { return square > bound; });
  return counts;
}

std::optional<double> ExpertDamping(int64_t tokens, int64_t columns, double damping) {
  for (const int64_t step : {1, 4, 16}) {
    if (tokens * step >= columns && tokens > 0)
      return std::min(1.0, damping * static_cast<double>(step * step));
  }
  return std::nullopt;
}

}  // namespace gptq
