#include "quant/clip_search.h"

#include <cmath>
#include <random>

#include "quant/solve_matrix.h"
#include "tests/quant/plain_solver.h"
#include "tests/test_util.h"

namespace gptq {
namespace clip_search_test {

// The slow twin: every shrunken range tried by the plain loop in float64.
TEST(ClipSearch, TakesTheRangeOfLeastErrorInTheColumnLoop) {
  constexpr int64_t kColumns = 24, kRows = 5;
  std::mt19937 generator(31);
  std::normal_distribution<float> normal;
  std::vector<float> values(kColumns * kTileRows), triangle(kColumns * kColumns), errors(values.size());
  for (float& v : values) v = normal(generator);
  for (int64_t j = 0; j < kColumns; ++j) {
    for (int64_t i = 0; i <= j; ++i) triangle[j * kColumns + i] = i == j ? 1.0f : 0.3f * normal(generator);
  }
  for (const auto& [symmetric, kind] : {std::pair{false, SymmetricGrid::kPlain},
                                        {true, SymmetricGrid::kPlain},
                                        {true, SymmetricGrid::kFullRange}}) {
    SolverOptions options;
    options.bits = 3;
    options.symmetric = symmetric;
    options.symmetric_grid = kind;
    std::vector<float> scales(kTileRows), zeros(kTileRows);
    ClipSearch(options, SelectTileKernels())
        .Find(values.data(), kColumns, kRows, triangle.data(), nullptr, errors.data(), scales.data(),
              zeros.data());
    const auto loss_of = [&](int64_t row, Grid grid) {
      const plain::RowGrid plain_grid{double{grid.scale}, double{grid.zero}, 7};
      std::vector<double> error;
      double loss = 0;
      for (int64_t j = 0; j < kColumns; ++j) {
        double w = double{values[j * kTileRows + row]};
        for (int64_t i = 0; i < j; ++i) w -= double{triangle[j * kColumns + i]} * error[i];
        error.push_back(w - plain_grid.Round(w));
        loss += error.back() * error.back();
      }
      return loss;
    };
    const GridFinder finder(options);
    std::vector<float> minimum(kTileRows), maximum(kTileRows);
    finder.Ranges(values.data(), kColumns, kRows, minimum.data(), maximum.data());
    for (int64_t r = 0; r < kRows; ++r) {
      double least = 1e30;
      for (int step = 0; step < 20; ++step) {
        const float shrink = 1.0f - 0.03f * static_cast<float>(step);
        least = std::min(least, loss_of(r, finder.Span(shrink * minimum[r], shrink * maximum[r])));
      }
      EXPECT_NEAR(loss_of(r, {scales[r], zeros[r]}), least, 1e-3 * least);
    }
  }
}

TEST(ClipSearch, LowersTheLossOfWholeMatrices) {
  const plain::Problem problem(40, 80, 32);
  ThreadPool pool(2);
  for (const int64_t group : {-1, 16, 40}) {
    for (const bool static_groups : {false, true}) {
      for (const GroupGrid grid : {GroupGrid::kUpToDate, GroupGrid::kReference}) {
        SolverOptions options;
        options.bits = 2;
        options.group_size = group;
        options.static_groups = static_groups;
        options.group_grid = grid;
        const auto loss = [&](Clip clip) {
          options.clip = clip;
          return SolveMatrix(problem.weights(), problem.hessians(), Method::kGptq, options, "test", pool)
              .loss;
        };
        EXPECT_LT(loss(Clip::kHessian), loss(Clip::kNone)) << group;
      }
    }
  }
}

TEST(FullRange, TheGreatestWeightBecomesCodeZero) {
  SolverOptions options;
  options.bits = 4;
  const GridFinder finder(options);
  for (const float sign : {1.0f, -1.0f}) {
    const Grid grid = sign > 0 ? finder.Span(-1.0f, 2.0f) : finder.Span(-2.0f, 1.0f);
    EXPECT_EQ(grid.zero, 8);
    EXPECT_EQ(grid.scale, -sign * 0.25f);
    const float w = sign * 2.0f;
    uint8_t code;
    float value;
    QuantizeColumn(options, 1, &w, &grid.scale, &grid.zero, &code, &value);
    EXPECT_EQ(code, 0);
    EXPECT_EQ(value, w);
  }
}

}  // namespace clip_search_test
}  // namespace gptq
