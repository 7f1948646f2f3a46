#include "quant/gguf_refine.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "quant/descent_tile.h"

namespace gptq {
namespace {

float ToHalf(double value) {
  return HalfToFloat(FloatToHalf(std::clamp(static_cast<float>(value), -65504.0f, 65504.0f)));
}

// The loss of one row as it depends on two numbers that Q is linear in: -2 (s a + t b) + s² A + 2 s t C + t²
// B.
struct Paraboloid {
  double a = 0, b = 0, A = 0, B = 0, C = 0;

  double At(double s, double t) const { return -2 * (s * a + t * b) + s * s * A + 2 * s * t * C + t * t * B; }
  // The best s and t together, or s alone where B is 0.
  double BestS() const {
    if (!(B > 0)) return A > 0 ? a / A : 0;
    const double determinant = A * B - C * C;
    return determinant > 1e-9 * A * B ? (a * B - b * C) / determinant : 0;
  }
  double BestT(double s) const { return B > 0 ? (b - s * C) / B : 0; }
};

class BlockRefiner {
 public:
  BlockRefiner(const ConstMatrixView& weight, const RefineMetric& metric, const GgufBlockType& type,
               const SolverOptions& options, TileRows rows, SolveResult& result)
      : type_(type),
        options_(options),
        result_(result),
        tile_(weight, metric, rows, result),
        blocks_(type, result.columns) {
    blocks_.Load(rows, metric.columns, result, tile_.codes.data());
  }

  void Run() {
    for (int round = 0; round < options_.refits; ++round) {
      for (int64_t b = 0; b < blocks_.blocks(); ++b) {
        if (type_.super()) FitBlock(b);
        for (int64_t g = b * type_.groups(); g < (b + 1) * type_.groups(); ++g) {
          FitGroup(g);
          Descend(g);
        }
      }
    }
    for (int round = 0; round < options_.sweeps; ++round) {
      for (int64_t g = 0; g < blocks_.groups(); ++g) Descend(g);
    }
    blocks_.Store(tile_.rows, tile_.metric.columns, tile_.codes.data(), result_);
  }

 private:
  int64_t begin(int64_t group) const { return group * type_.group_columns; }

  void Descend(int64_t group) { tile_.Descend(begin(group), begin(group + 1), blocks_.Grids(group)); }

  // The changes of Q in columns [first, last) along two directions, of which row r's at column c are
  // direction(c, r); measures each and their sum.
  template <typename First, typename Second>
  void Measure(int64_t first, int64_t last, const First& s, const Second& t, Paraboloid* rows) {
    double slopes[kTileRows], curvatures[kTileRows];
    const auto fill = [&](const auto& direction) {
      for (int64_t c = first; c < last; ++c) {
        for (int64_t r = 0; r < tile_.rows.count; ++r) tile_.at(tile_.changes, c)[r] = direction(c, r);
      }
      tile_.Measure(first, last, slopes, curvatures);
    };
    fill(s);
    for (int64_t r = 0; r < tile_.rows.count; ++r) {
      rows[r].a = slopes[r];
      rows[r].A = curvatures[r];
    }
    if (!type_.minima) return;
    fill(t);
    for (int64_t r = 0; r < tile_.rows.count; ++r) {
      rows[r].b = slopes[r];
      rows[r].B = curvatures[r];
    }
    fill([&](int64_t c, int64_t r) { return s(c, r) + t(c, r); });
    for (int64_t r = 0; r < tile_.rows.count; ++r) rows[r].C = (curvatures[r] - rows[r].A - rows[r].B) / 2;
  }

  float Steps(int64_t column, int64_t row) const {
    return static_cast<float>(tile_.codes[column * kTileRows + row]) - static_cast<float>(type_.middle());
  }

  // The numbers of each super-block that its integers are multiples of.
  void FitBlock(int64_t block) {
    const int64_t first = block * type_.columns, last = first + type_.columns;
    const auto group = [&](int64_t c) { return static_cast<size_t>((c - first) / type_.group_columns); };
    Paraboloid rows[kTileRows];
    Measure(
        first, last,
        [&](int64_t c, int64_t r) {
          return static_cast<float>(blocks_.grid(block, r).scales[group(c)]) * Steps(c, r);
        },
        [&](int64_t c, int64_t r) { return -static_cast<float>(blocks_.grid(block, r).minima[group(c)]); },
        rows);
    for (int64_t r = 0; r < tile_.rows.count; ++r) {
      GgufBlockGrid& grid = blocks_.grid(block, r);
      const double scale = static_cast<double>(grid.scale), minimum = static_cast<double>(grid.minimum);
      const float new_scale = ToHalf(scale + rows[r].BestS());
      const double s = static_cast<double>(new_scale) - scale;
      const float new_minimum = type_.minima ? std::max(0.0f, ToHalf(minimum + rows[r].BestT(s))) : 0.0f;
      const double t = static_cast<double>(new_minimum) - minimum;
      // A scale that changes its sign or vanishes has lost its block.
      if (!(new_scale * grid.scale > 0) || !(rows[r].At(s, t) < 0)) continue;
      grid.scale = new_scale;
      grid.minimum = new_minimum;
      blocks_.Show(block, r);
    }
    for (int64_t g = block * type_.groups(); g < (block + 1) * type_.groups(); ++g)
      tile_.SetValues(begin(g), begin(g + 1), blocks_.Grids(g));
    tile_.UpdateGradients(first, last);
  }

  // The integers of a group, or scale and minimum themselves in types without super-blocks.
  void FitGroup(int64_t group) {
    const int64_t block = group / type_.groups();
    const auto g = static_cast<size_t>(group % type_.groups());
    Paraboloid rows[kTileRows];
    Measure(
        begin(group), begin(group + 1), [&](int64_t c, int64_t r) { return Steps(c, r); },
        [](int64_t, int64_t) { return 1.0f; }, rows);
    for (int64_t r = 0; r < tile_.rows.count; ++r) {
      GgufBlockGrid& grid = blocks_.grid(block, r);
      const bool changed = type_.super() ? FitIntegers(rows[r], g, grid) : FitFloats(rows[r], grid);
      if (changed) blocks_.Show(block, r);
    }
    tile_.SetValues(begin(group), begin(group + 1), blocks_.Grids(group));
    tile_.UpdateGradients(begin(group), begin(group + 1));
  }

  // The whole number next to the best scale and those beside it, each with its best minimum.
  bool FitIntegers(const Paraboloid& loss, size_t g, GgufBlockGrid& grid) const {
    const double unit = static_cast<double>(grid.scale), minimum_unit = static_cast<double>(grid.minimum);
    const int scale = grid.scales[g], minimum = grid.minima[g];
    if (scale == 0 || unit == 0) return false;
    const double wanted = std::round(scale + loss.BestS() / unit);
    if (!std::isfinite(wanted)) return false;
    const int middle = static_cast<int>(std::clamp<double>(wanted, type_.least_scale, type_.greatest_scale));
    double best = 0;
    for (int k = middle - 1; k <= middle + 1; ++k) {
      if (k < type_.least_scale || k > type_.greatest_scale || k * scale <= 0) continue;
      const double s = (k - scale) * unit;
      int m = minimum;
      if (type_.minima && minimum_unit > 0) {
        const double best_minimum = std::round(minimum - loss.BestT(s) / minimum_unit);
        if (!std::isfinite(best_minimum)) continue;
        m = static_cast<int>(std::clamp<double>(best_minimum, 0, type_.greatest_scale));
      }
      const double change = loss.At(s, (minimum - m) * minimum_unit);
      if (!(change < best)) continue;
      best = change;
      grid.scales[g] = static_cast<int16_t>(k);
      grid.minima[g] = static_cast<int16_t>(m);
    }
    return best < 0;
  }

  bool FitFloats(const Paraboloid& loss, GgufBlockGrid& grid) const {
    const double scale = static_cast<double>(grid.scale), minimum = static_cast<double>(grid.minimum);
    const float new_scale = ToHalf(scale + loss.BestS());
    const double s = static_cast<double>(new_scale) - scale;
    const float new_minimum = type_.minima ? ToHalf(minimum + loss.BestT(s)) : 0.0f;
    const double t = static_cast<double>(new_minimum) - minimum;
    if (!(new_scale * grid.scale > 0) || !(loss.At(s, t) < 0)) return false;
    grid.scale = new_scale;
    grid.minimum = new_minimum;
    return true;
  }

  const GgufBlockType& type_;
  const SolverOptions& options_;
  SolveResult& result_;
  DescentTile tile_;
  GgufTile blocks_;
};

}  // namespace

void RefineBlocks(const ConstMatrixView& weight, const RefineMetric& metric, const GgufBlockType& type,
                  const SolverOptions& options, TileRows rows, SolveResult& result) {
  BlockRefiner(weight, metric, type, options, rows, result).Run();
}

}  // namespace gptq
