#include "quant/solver.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "compute/blas.h"
#include "quant/tile.h"

namespace gptq {
namespace {

// Columns updated one by one inside a block before the rest of the block is updated by a matrix product.
constexpr int64_t kSubBlock = 32;

// Positions [begin, end) of a group whose columns are solved one after another.
struct GroupRun {
  int64_t begin, end;
  int32_t group;
};

std::vector<GroupRun> FindRuns(const ColumnOrder& order) {
  std::vector<GroupRun> runs;
  const auto columns = static_cast<int64_t>(order.columns.size());
  for (int64_t p = 0; p < columns; ++p) {
    const int32_t group = order.group_index[order.columns[p]];
    if (runs.empty() || runs.back().group != group) runs.push_back({p, p, group});
    runs.back().end = p + 1;
  }
  return runs;
}

// Everything that all tiles share.
struct Problem {
  const ConstMatrixView& weight;
  const InverseFactor& factor;
  const SolverOptions& options;
  GridFinder finder;
  bool static_grids;              // all grids before the loop
  std::vector<GroupRun> runs;     // by position; empty with static grids
  std::vector<int32_t> group_at;  // [positions]

  Problem(const ConstMatrixView& weight_, const InverseFactor& factor_, const SolverOptions& options_)
      : weight(weight_), factor(factor_), options(options_), finder(options_) {
    static_grids = options.static_groups || GridsBeforeDead();
    if (!static_grids) {
      CHECK(factor.order.contiguous);
      runs = FindRuns(factor.order);
      CHECK(static_cast<int64_t>(runs.size()) == factor.order.groups);
    }
    for (const int32_t column : factor.order.columns) group_at.push_back(factor.order.group_index[column]);
  }

  // The published program takes the grids of whole rows before it clears the dead columns.
  bool GridsBeforeDead() const {
    return options.group_grid == GroupGrid::kReference && options.group_size < 0;
  }
};

class Tile {
 public:
  Tile(const Problem& problem, TileRows rows)
      : problem_(problem),
        options_(problem.options),
        rows_(rows),
        columns_(problem.factor.columns()),
        values_(static_cast<size_t>(columns_ * kTileRows)),
        codes_(values_.size()),
        errors_(static_cast<size_t>(std::min(options_.block_size, columns_) * kTileRows)),
        loss_(static_cast<size_t>(rows.count)),
        grids_(problem.factor.order.groups) {}

  // Returns the tile's sum of e².
  double Solve(SolveResult& result) {
    const std::vector<int32_t>& order = problem_.factor.order.columns;
    LoadTile(problem_.weight, rows_, order, problem_.factor.dead, values_.data());
    if (problem_.static_grids) FindStaticGrids();
    for (int64_t begin = 0; begin < columns_;) {
      const int64_t end = BlockEnd(begin);
      SolveBlock(begin, end);
      UpdateLater(begin, begin, end, end, columns_);
      begin = end;
    }
    StoreTile(rows_, order, values_.data(), codes_.data(), grids_, result);
    return std::accumulate(loss_.begin(), loss_.end(), 0.0);
  }

 private:
  float* column(int64_t position) { return values_.data() + position * kTileRows; }
  const float* upper(int64_t i, int64_t j) const { return problem_.factor.upper.data() + i * columns_ + j; }

  void FindStaticGrids() {
    std::vector<std::vector<int32_t>> members(static_cast<size_t>(problem_.factor.order.groups));
    for (int64_t c = 0; c < columns_; ++c) {
      members[problem_.factor.order.group_index[c]].push_back(static_cast<int32_t>(c));
    }
    std::vector<float> group_values;
    const std::span<const uint8_t> dead = problem_.GridsBeforeDead()
                                              ? std::span<const uint8_t>()
                                              : std::span<const uint8_t>(problem_.factor.dead);
    for (size_t g = 0; g < members.size(); ++g) {
      group_values.resize(members[g].size() * kTileRows);
      LoadTile(problem_.weight, rows_, members[g], dead, group_values.data());
      FindGrid(static_cast<int32_t>(g), group_values.data(), static_cast<int64_t>(members[g].size()));
    }
  }

  void FindGrid(int32_t group, const float* values, int64_t columns) {
    problem_.finder.Find(values, columns, rows_.count, grids_.scale(group), grids_.zero(group));
  }

  // The first run that begins at or after `position`.
  std::vector<GroupRun>::const_iterator RunFrom(int64_t position) const {
    return std::lower_bound(problem_.runs.begin(), problem_.runs.end(), position,
                            [](const GroupRun& run, int64_t p) { return run.begin < p; });
  }

  // Blocks end early where a group begins that reaches beyond the block: its later columns must have all
  // updates when its grid is taken.
  int64_t BlockEnd(int64_t begin) const {
    const int64_t end = std::min(begin + options_.block_size, columns_);
    if (options_.group_grid == GroupGrid::kReference) return end;
    for (auto run = RunFrom(begin + 1); run != problem_.runs.end() && run->begin < end; ++run) {
      if (run->end > end) return run->begin;
    }
    return end;
  }

  void SolveBlock(int64_t begin, int64_t end) {
    const bool stale = options_.group_grid == GroupGrid::kReference;
    auto run = RunFrom(begin);
    if (stale) {
      for (; run != problem_.runs.end() && run->begin < end; ++run) {
        FindGrid(run->group, column(run->begin), run->end - run->begin);
      }
    }
    for (int64_t from = begin; from < end;) {
      int64_t to = std::min(from + kSubBlock, end);
      if (!stale && run != problem_.runs.end()) {
        if (run->begin == from) {
          FindGrid(run->group, column(from), run->end - from);
          ++run;
        }
        if (run != problem_.runs.end()) to = std::min(to, run->begin);
      }
      SolveColumns(begin, from, to);
      UpdateLater(begin, from, to, to, end);
      from = to;
    }
  }

  // The plain loop over columns [from, to) of the block that starts at `block`.
  void SolveColumns(int64_t block, int64_t from, int64_t to) {
    float weights[kTileRows];
    for (int64_t p = from; p < to; ++p) {
      float* error = errors_.data() + (p - block) * kTileRows;
      float* value = column(p);
      std::copy_n(value, rows_.count, weights);
      QuantizeColumn(options_, rows_.count, weights, grids_.scale(problem_.group_at[p]),
                     grids_.zero(problem_.group_at[p]), codes_.data() + p * kTileRows, value);
      const float pivot = *upper(p, p);
      for (int64_t r = 0; r < rows_.count; ++r) {
        error[r] = (weights[r] - value[r]) / pivot;
        loss_[r] += static_cast<double>(error[r]) * static_cast<double>(error[r]);
      }
      for (int64_t k = p + 1; k < to; ++k) {
        const float factor = *upper(p, k);
        float* later = column(k);
        for (int64_t r = 0; r < rows_.count; ++r) later[r] -= error[r] * factor;
      }
    }
  }

  // Columns [later, end) -= E · U for the solved columns [from, to) of the block that starts at `block`.
  void UpdateLater(int64_t block, int64_t from, int64_t to, int64_t later, int64_t end) {
    if (later >= end) return;
    blas::Gemm(true, false, end - later, rows_.count, to - from, -1.0f, upper(from, later), columns_,
               errors_.data() + (from - block) * kTileRows, kTileRows, 1.0f, column(later), kTileRows);
  }

  const Problem& problem_;
  const SolverOptions& options_;
  const TileRows rows_;
  const int64_t columns_;
  std::vector<float>
      values_;  // [columns][kTileRows], in the order; finished columns hold their quantized values
  std::vector<uint8_t> codes_;  // the same shape
  std::vector<float> errors_;   // E of the current block [block][kTileRows]
  std::vector<double> loss_;    // [rows]
  TileGrids grids_;
};

}  // namespace

SolveResult SolveGptq(const ConstMatrixView& weight, const InverseFactor& factor,
                      const SolverOptions& options, ThreadPool& pool) {
  Validate(options);
  CHECK(weight.columns == factor.columns());
  const ColumnOrder& order = factor.order;
  CHECK(order.groups == options.GroupCount(weight.columns));
  SolveResult result = MakeResult(weight.rows, weight.columns, order.groups, order.group_index);
  const Problem problem(weight, factor, options);
  std::vector<double> losses(static_cast<size_t>(TileCount(weight.rows)));
  pool.ParallelFor(TileCount(weight.rows), [&](int64_t tile) {
    losses[tile] = Tile(problem, TileAt(tile, weight.rows)).Solve(result);
  });
  result.loss = std::accumulate(losses.begin(), losses.end(), 0.0) * factor.hessian_scale;
  CountSaturatedScales(options, result);
  return result;
}

}  // namespace gptq
