#include "quant/refine.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "quant/descent_tile.h"
#include "quant/factor.h"
#include "quant/gguf_refine.h"
#include "quant/tile.h"

namespace gptq {
namespace {

class RefineTile {
 public:
  RefineTile(const ConstMatrixView& weight, const RefineMetric& metric, const SolverOptions& options,
             TileRows rows, SolveResult& result)
      : metric_(metric),
        options_(options),
        result_(result),
        tile_(weight, metric, rows, result),
        grids_(result.groups) {
    const int64_t columns = result.columns;
    for (int64_t c = 0; c < columns; ++c) {
      const uint8_t* codes = result.codes.data() + rows.begin * columns + metric_.columns[c];
      for (int64_t r = 0; r < rows.count; ++r) tile_.codes[c * kTileRows + r] = codes[r * columns];
    }
    for (int64_t g = 0; g < result.groups; ++g) {
      for (int64_t r = 0; r < rows.count; ++r) {
        grids_.scale(g)[r] = result.scales[(rows.begin + r) * result.groups + g];
        grids_.zero(g)[r] = result.zeros[(rows.begin + r) * result.groups + g];
      }
    }
  }

  void Run() {
    for (int round = 0; round < options_.refits && !options_.ternary; ++round) {
      for (int64_t g = 0; g < result_.groups; ++g) {
        FitScales(g);
        if (!options_.symmetric) FitZeros(g);
        Descend(g);
      }
    }
    for (int round = 0; round < options_.sweeps; ++round) {
      for (int64_t g = 0; g < result_.groups; ++g) Descend(g);
    }
    StoreTile(tile_.rows, metric_.columns, tile_.values.data(), tile_.codes.data(), grids_, result_);
  }

 private:
  int64_t begin(int64_t group) const { return metric_.begins[group]; }
  int64_t end(int64_t group) const { return metric_.begins[group + 1]; }

  void Descend(int64_t group) {
    tile_.Descend(
        begin(group), end(group),
        {grids_.scale(group), grids_.zero(group), nullptr, static_cast<float>(options_.maximum_code()),
         options_.ternary ? GridKind::kTernary : GridKind::kUniform});
  }

  // The best step along each row's changes of the group: sum of d g / d H dᵀ. 0 where d is 0.
  void BestSteps(int64_t group, double* steps) {
    double curvatures[kTileRows];
    tile_.Measure(begin(group), end(group), steps, curvatures);
    for (int64_t r = 0; r < tile_.rows.count; ++r)
      steps[r] = curvatures[r] > 0 ? steps[r] / curvatures[r] : 0.0;
  }

  // Applies changes *= factor of each row.
  void Apply(int64_t group, const float* factors) {
    for (int64_t c = begin(group); c < end(group); ++c) {
      for (int64_t r = 0; r < kTileRows; ++r) tile_.at(tile_.changes, c)[r] *= factors[r];
    }
    tile_.Apply(begin(group), end(group));
  }

  void FitScales(int64_t group) {
    float* scales = grids_.scale(group);
    const float* zeros = grids_.zero(group);
    for (int64_t c = begin(group); c < end(group); ++c) {
      for (int64_t r = 0; r < kTileRows; ++r)
        tile_.at(tile_.changes, c)[r] = static_cast<float>(tile_.codes[c * kTileRows + r]) - zeros[r];
    }
    double steps[kTileRows];
    BestSteps(group, steps);
    float factors[kTileRows] = {};
    for (int64_t r = 0; r < tile_.rows.count; ++r) {
      const float fitted = static_cast<float>(static_cast<double>(scales[r]) + steps[r]);
      // A scale that changes its sign or vanishes has lost its group.
      if (!(fitted * scales[r] > 0) || !std::isfinite(fitted)) continue;
      const float rounded = RoundScale(fitted, options_.scale_type);
      factors[r] = rounded - scales[r];
      scales[r] = rounded;
    }
    Apply(group, factors);
  }

  // Zeros are whole numbers: the best of those within reach, kept only where it lowers the loss.
  void FitZeros(int64_t group) {
    float* scales = grids_.scale(group);
    float* zeros = grids_.zero(group);
    const auto greatest = static_cast<float>(options_.maximum_code());
    for (int64_t c = begin(group); c < end(group); ++c)
      std::fill_n(tile_.at(tile_.changes, c), kTileRows, 1.0f);
    double steps[kTileRows];
    BestSteps(group, steps);
    float factors[kTileRows] = {};
    for (int64_t r = 0; r < tile_.rows.count; ++r) {
      const auto wanted = static_cast<float>(std::round(-steps[r] / static_cast<double>(scales[r])));
      const float zero = std::clamp(zeros[r] + wanted, static_cast<float>(options_.minimum_zero), greatest);
      const float change = (zeros[r] - zero) * scales[r];
      const double d = static_cast<double>(change);
      if (!(d * (2 * steps[r] - d) > 0)) continue;
      factors[r] = change;
      zeros[r] = zero;
    }
    Apply(group, factors);
  }

  const RefineMetric& metric_;
  const SolverOptions& options_;
  SolveResult& result_;
  DescentTile tile_;
  TileGrids grids_;
};

}  // namespace

RefineMetric::RefineMetric(const HessianView& hessian, double lambda, const std::vector<int32_t>& group_index,
                           int64_t groups)
    : begins(static_cast<size_t>(groups + 1)),
      values(static_cast<size_t>(hessian.columns * hessian.columns)),
      dead(DeadInputs(hessian)) {
  const int64_t n = hessian.columns;
  std::vector<std::vector<int32_t>> members(static_cast<size_t>(groups));
  for (int32_t c = 0; c < n; ++c) members[group_index[c]].push_back(c);
  for (int64_t g = 0; g < groups; ++g) {
    columns.insert(columns.end(), members[g].begin(), members[g].end());
    begins[g + 1] = static_cast<int64_t>(columns.size());
  }
  for (int64_t i = 0; i < n; ++i) {
    float* row = values.data() + i * n;
    for (int64_t j = 0; j < n; ++j) row[j] = hessian.at(columns[i], columns[j]);
    row[i] = row[i] == 0.0f ? 1.0f : static_cast<float>(static_cast<double>(row[i]) + lambda);
  }
}

void Refine(const ConstMatrixView& weight, const RefineMetric& metric, const SolverOptions& options,
            ThreadPool& pool, SolveResult& result) {
  CHECK(weight.rows == result.rows && weight.columns == result.columns);
  pool.ParallelFor(TileCount(weight.rows), [&](int64_t tile) {
    const TileRows rows = TileAt(tile, weight.rows);
    if (const GgufBlockType* type = BlockTypeOf(options)) {
      RefineBlocks(weight, metric, *type, options, rows, result);
    } else {
      RefineTile(weight, metric, options, rows, result).Run();
    }
  });
}

}  // namespace gptq
