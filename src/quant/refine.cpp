#include "quant/refine.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "compute/blas.h"
#include "quant/factor.h"
#include "quant/tile.h"
#include "quant/tile_kernels.h"

namespace gptq {
namespace {

constexpr int64_t kLongestPiece = 64;  // columns whose codes are descended over before G is updated

class RefineTile {
 public:
  RefineTile(const ConstMatrixView& weight, const RefineMetric& metric, const SolverOptions& options,
             const TileKernels& kernels, TileRows rows, SolveResult& result)
      : metric_(metric),
        options_(options),
        kernels_(kernels),
        rows_(rows),
        columns_(result.columns),
        result_(result),
        values_(static_cast<size_t>(columns_ * kTileRows)),
        codes_(values_.size()),
        gradients_(values_.size()),
        changes_(values_.size()),
        grids_(result.groups) {
    Load(weight);
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
    StoreTile(rows_, metric_.columns, values_.data(), codes_.data(), grids_, result_);
  }

 private:
  float* at(std::vector<float>& matrix, int64_t column) { return matrix.data() + column * kTileRows; }
  const float* metric(int64_t i, int64_t j) const { return metric_.values.data() + i * columns_ + j; }

  // Q, its codes and grids; G = (W - Q) H.
  void Load(const ConstMatrixView& weight) {
    LoadTile(ConstMatrix(result_.dequantized.data(), result_.rows, columns_), rows_, metric_.columns, {},
             values_.data());
    for (int64_t c = 0; c < columns_; ++c) {
      const uint8_t* codes = result_.codes.data() + rows_.begin * columns_ + metric_.columns[c];
      for (int64_t r = 0; r < rows_.count; ++r) codes_[c * kTileRows + r] = codes[r * columns_];
    }
    for (int64_t g = 0; g < result_.groups; ++g) {
      for (int64_t r = 0; r < rows_.count; ++r) {
        grids_.scale(g)[r] = result_.scales[(rows_.begin + r) * result_.groups + g];
        grids_.zero(g)[r] = result_.zeros[(rows_.begin + r) * result_.groups + g];
      }
    }
    LoadTile(weight, rows_, metric_.columns, metric_.dead, changes_.data());
    for (size_t i = 0; i < values_.size(); ++i) changes_[i] -= values_[i];
    blas::Gemm(false, false, columns_, kTileRows, columns_, 1.0f, metric_.values.data(), columns_,
               changes_.data(), kTileRows, 0.0f, gradients_.data(), kTileRows);
  }

  // G after columns [begin, end) of Q have changed.
  void UpdateGradients(int64_t begin, int64_t end) {
    blas::Gemm(false, false, columns_, kTileRows, end - begin, -1.0f, metric(0, begin), columns_,
               at(changes_, begin), kTileRows, 1.0f, gradients_.data(), kTileRows);
  }

  std::vector<float> MetricBlock(int64_t begin, int64_t end) const {
    const int64_t count = end - begin;
    std::vector<float> block(static_cast<size_t>(count * count));
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(metric(begin + i, begin), count, block.data() + i * count);
    return block;
  }

  void Descend(int64_t group) {
    const RowGrids grids{grids_.scale(group), grids_.zero(group), nullptr,
                         static_cast<float>(options_.maximum_code()), options_.ternary};
    const int64_t end = metric_.begins[group + 1];
    for (int64_t begin = metric_.begins[group]; begin < end; begin += kLongestPiece) {
      const int64_t piece = std::min(kLongestPiece, end - begin);
      kernels_.descend(piece, MetricBlock(begin, begin + piece).data(), grids, at(gradients_, begin),
                       at(values_, begin), codes_.data() + begin * kTileRows, at(changes_, begin));
      UpdateGradients(begin, begin + piece);
    }
  }

  // The best step along each row's `changes_` of the group: sum of d g / d H dᵀ. 0 where d is 0.
  void BestSteps(int64_t group, double* steps, double* curvatures) {
    const int64_t begin = metric_.begins[group], end = metric_.begins[group + 1];
    float quadratic[kTileRows];
    kernels_.quadratic(end - begin, MetricBlock(begin, end).data(), at(changes_, begin), quadratic);
    for (int64_t r = 0; r < rows_.count; ++r) {
      double slope = 0;
      for (int64_t c = begin; c < end; ++c) {
        slope += static_cast<double>(at(changes_, c)[r]) * static_cast<double>(at(gradients_, c)[r]);
      }
      curvatures[r] = static_cast<double>(quadratic[r]);
      steps[r] = curvatures[r] > 0 ? slope / curvatures[r] : 0.0;
    }
  }

  // Applies changes_ *= factor of each row.
  void Apply(int64_t group, const float* factors) {
    for (int64_t c = metric_.begins[group]; c < metric_.begins[group + 1]; ++c) {
      for (int64_t r = 0; r < kTileRows; ++r) {
        at(changes_, c)[r] *= factors[r];
        at(values_, c)[r] += at(changes_, c)[r];
      }
    }
    UpdateGradients(metric_.begins[group], metric_.begins[group + 1]);
  }

  void FitScales(int64_t group) {
    float* scales = grids_.scale(group);
    const float* zeros = grids_.zero(group);
    for (int64_t c = metric_.begins[group]; c < metric_.begins[group + 1]; ++c) {
      for (int64_t r = 0; r < kTileRows; ++r)
        at(changes_, c)[r] = static_cast<float>(codes_[c * kTileRows + r]) - zeros[r];
    }
    double steps[kTileRows], curvatures[kTileRows];
    BestSteps(group, steps, curvatures);
    float factors[kTileRows] = {};
    for (int64_t r = 0; r < rows_.count; ++r) {
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
    for (int64_t c = metric_.begins[group]; c < metric_.begins[group + 1]; ++c)
      std::fill_n(at(changes_, c), kTileRows, 1.0f);
    double steps[kTileRows], curvatures[kTileRows];
    BestSteps(group, steps, curvatures);
    float factors[kTileRows] = {};
    for (int64_t r = 0; r < rows_.count; ++r) {
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
  const TileKernels& kernels_;
  const TileRows rows_;
  const int64_t columns_;
  SolveResult& result_;
  // [columns][kTileRows], in the metric's order
  std::vector<float> values_;
  std::vector<uint8_t> codes_;
  std::vector<float> gradients_;
  std::vector<float> changes_;  // of Q, not yet in G
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
  const TileKernels& kernels = SelectTileKernels();
  pool.ParallelFor(TileCount(weight.rows), [&](int64_t tile) {
    RefineTile(weight, metric, options, kernels, TileAt(tile, weight.rows), result).Run();
  });
}

}  // namespace gptq
