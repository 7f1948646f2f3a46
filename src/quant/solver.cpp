#include "quant/solver.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "compute/blas.h"
#include "quant/clip_search.h"
#include "quant/gguf_tile.h"
#include "quant/schedule.h"
#include "quant/tile.h"
#include "quant/tile_kernels.h"

namespace gptq {
namespace {

// The published program takes the grids of whole rows before it clears the dead columns.
bool GridsBeforeDead(const SolverOptions& options) {
  return options.group_grid == GroupGrid::kReference && options.group_size < 0;
}

// Everything that all tiles share.
struct Problem {
  const ConstMatrixView& weight;
  const InverseFactor& factor;
  const SolverOptions& options;
  const TileKernels& kernels;
  const GgufBlockType* block_type;  // null: grids of scales and zeros
  bool static_grids;                // all grids before the loop
  Schedule schedule;
  std::vector<int32_t> group_at;              // [positions]
  std::vector<std::vector<int32_t>> members;  // columns of each group; only with static grids
  std::vector<std::vector<float>> pivots;     // of U at these columns

  Problem(const ConstMatrixView& weight_, const InverseFactor& factor_, const SolverOptions& options_)
      : weight(weight_),
        factor(factor_),
        options(options_),
        kernels(SelectTileKernels()),
        block_type(BlockTypeOf(options_)),
        static_grids(options_.static_groups || GridsBeforeDead(options_)),
        schedule(factor_, options_, static_grids) {
    const ColumnOrder& order = factor.order;
    const int64_t columns = factor.columns();
    members.resize(static_cast<size_t>(order.groups));
    pivots.resize(members.size());
    std::vector<float> pivot_of(static_cast<size_t>(columns));
    for (int64_t p = 0; p < columns; ++p) {
      const int32_t column = order.columns[p];
      group_at.push_back(block_type != nullptr ? static_cast<int32_t>(column / block_type->group_columns)
                                               : order.group_index[column]);
      pivot_of[order.columns[p]] = factor.upper[p * columns + p];
    }
    for (int32_t c = 0; c < columns; ++c) {
      members[order.group_index[c]].push_back(c);
      pivots[order.group_index[c]].push_back(pivot_of[c]);
    }
  }
};

class Tile {
 public:
  Tile(const Problem& problem, TileRows rows)
      : problem_(problem),
        options_(problem.options),
        finder_(options_),
        clip_search_(options_, problem.kernels),
        rows_(rows),
        columns_(problem.factor.columns()),
        values_(static_cast<size_t>(columns_ * kTileRows)),
        codes_(values_.size()),
        errors_(static_cast<size_t>(std::min(options_.block_size, columns_) * kTileRows)),
        loss_(static_cast<size_t>(rows.count)),
        grids_(problem.block_type == nullptr ? problem.factor.order.groups : 0) {
    if (problem.block_type != nullptr) blocks_.emplace(*problem.block_type, columns_);
  }

  // Returns the tile's sum of e².
  double Solve(SolveResult& result) {
    const std::vector<int32_t>& order = problem_.factor.order.columns;
    LoadTile(problem_.weight, rows_, order, problem_.factor.dead, values_.data());
    if (problem_.static_grids) FindStaticGrids();
    for (const LazyBlock& block : problem_.schedule.blocks()) {
      for (const GroupRun* run : block.grids) FindGrid(*run);
      for (const Step& step : block.steps) {
        if (step.grid != nullptr) FindGrid(*step.grid);
        SolveStep(block, step);
        UpdateLater(block.begin, step.begin, step.end, step.end, block.end);
      }
      UpdateLater(block.begin, block.begin, block.end, block.end, columns_);
    }
    if (blocks_) {
      blocks_->Store(rows_, order, codes_.data(), result);
    } else {
      StoreTile(rows_, order, values_.data(), codes_.data(), grids_, result);
    }
    return std::accumulate(loss_.begin(), loss_.end(), 0.0);
  }

 private:
  float* column(int64_t position) { return values_.data() + position * kTileRows; }

  void FindStaticGrids() {
    std::vector<float> group_values;
    const std::span<const uint8_t> dead = GridsBeforeDead(options_)
                                              ? std::span<const uint8_t>()
                                              : std::span<const uint8_t>(problem_.factor.dead);
    for (size_t g = 0; g < problem_.members.size(); ++g) {
      const std::vector<int32_t>& members = problem_.members[g];
      group_values.resize(members.size() * kTileRows);
      LoadTile(problem_.weight, rows_, members, dead, group_values.data());
      FindGrid(static_cast<int32_t>(g), members, group_values.data(), nullptr, problem_.pivots[g].data());
    }
  }

  void FindGrid(const GroupRun& run) {
    const float* triangle = run.triangle.empty() ? nullptr : run.triangle.data();
    const std::span<const int32_t> columns(problem_.factor.order.columns);
    FindGrid(run.group,
             columns.subspan(static_cast<size_t>(run.begin), static_cast<size_t>(run.end - run.begin)),
             column(run.begin), triangle, run.pivots.data());
  }

  // Of the group of `members`, whose weights are `values`.
  void FindGrid(int32_t group, std::span<const int32_t> members, const float* values, const float* triangle,
                const float* pivots) {
    const auto columns = static_cast<int64_t>(members.size());
    const bool weighted = options_.clip == Clip::kHessian;
    if (blocks_) return blocks_->Fit(members, values, weighted ? pivots : nullptr, rows_.count);
    if (!weighted) {
      finder_.Find(values, columns, rows_.count, grids_.scale(group), grids_.zero(group));
      return;
    }
    trial_.resize(std::max<size_t>(trial_.size(), static_cast<size_t>(columns * kTileRows)));
    clip_search_.Find(values, columns, rows_.count, triangle, pivots, trial_.data(), grids_.scale(group),
                      grids_.zero(group));
  }

  void SolveStep(const LazyBlock& block, const Step& step) {
    float loss[kTileRows] = {};
    RowGrids grids{grids_.scale(0), grids_.zero(0), nullptr, static_cast<float>(options_.maximum_code()),
                   options_.ternary ? GridKind::kTernary : GridKind::kUniform};
    if (blocks_) grids = blocks_->Grids(0);
    grids.groups = problem_.group_at.data() + step.begin;
    problem_.kernels.solve(step.end - step.begin, step.triangle.data(), grids, column(step.begin),
                           codes_.data() + step.begin * kTileRows,
                           errors_.data() + (step.begin - block.begin) * kTileRows, loss);
    for (int64_t r = 0; r < rows_.count; ++r) loss_[r] += static_cast<double>(loss[r]);
  }

  // Columns [later, end) -= E · U for the solved columns [from, to) of the block that starts at `block`.
  void UpdateLater(int64_t block, int64_t from, int64_t to, int64_t later, int64_t end) {
    if (later >= end) return;
    const float* upper = problem_.factor.upper.data() + from * columns_ + later;
    blas::Gemm(true, false, end - later, rows_.count, to - from, -1.0f, upper, columns_,
               errors_.data() + (from - block) * kTileRows, kTileRows, 1.0f, column(later), kTileRows);
  }

  const Problem& problem_;
  const SolverOptions& options_;
  const GridFinder finder_;
  const ClipSearch clip_search_;
  const TileRows rows_;
  const int64_t columns_;
  std::vector<float>
      values_;  // [columns][kTileRows], in the order; finished columns hold their quantized values
  std::vector<uint8_t> codes_;  // the same shape
  std::vector<float> errors_;   // E of the current block [block][kTileRows]
  std::vector<float> trial_;    // errors of the clip search
  std::vector<double> loss_;    // [rows]
  TileGrids grids_;
  std::optional<GgufTile> blocks_;  // instead of the grids
};

}  // namespace

SolveResult SolveGptq(const ConstMatrixView& weight, const InverseFactor& factor,
                      const SolverOptions& options, ThreadPool& pool) {
  Validate(options);
  CHECK(weight.columns == factor.columns());
  const ColumnOrder& order = factor.order;
  CHECK(order.groups == options.GroupCount(weight.columns));
  const Problem problem(weight, factor, options);
  SolveResult result = problem.block_type == nullptr
                           ? MakeResult(weight.rows, weight.columns, order.groups, order.group_index)
                           : MakeBlockResult(weight.rows, weight.columns, *problem.block_type);
  std::vector<double> losses(static_cast<size_t>(TileCount(weight.rows)));
  pool.ParallelFor(TileCount(weight.rows), [&](int64_t tile) {
    losses[tile] = Tile(problem, TileAt(tile, weight.rows)).Solve(result);
  });
  result.loss = std::accumulate(losses.begin(), losses.end(), 0.0) * factor.hessian_scale;
  CountSaturatedScales(options, result);
  return result;
}

}  // namespace gptq
