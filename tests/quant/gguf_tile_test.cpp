// The column loop on GGUF's own grids, and their refinement.
#include "quant/gguf_tile.h"

#include <cstring>

#include "base/convert.h"
#include "quant/gguf_rounding.h"
#include "quant/rtn.h"
#include "quant/solve_matrix.h"
#include "quant/solver.h"
#include "tests/quant/plain_solver.h"
#include "tests/test_util.h"

namespace gptq {
namespace gguf_tile_test {

using plain::Problem;

constexpr DType kAllTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                               DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

SolverOptions Options(DType type, int refits = 0) {
  SolverOptions options;
  SetGgufType(type, options);
  options.refits = refits;
  return options;
}

// Two blocks and more.
int64_t Columns(DType type) { return FindGgufBlockType(type)->columns == 256 ? 512 : 96; }

MatrixSolution Solve(const Problem& problem, const SolverOptions& options, int threads = 2,
                     Method method = Method::kGptq) {
  ThreadPool pool(threads);
  return SolveMatrix(problem.weights(), problem.hessians(), method, options, "test", pool);
}

double Nearest(const GgufBlockType& type, const GgufBlockGrid& grid, int64_t column, double weight) {
  const int64_t g = column % type.columns / type.group_columns;
  const double scale = double{grid.GroupScale(type, g)}, minimum = double{grid.GroupMinimum(type, g)};
  if (scale == 0) return minimum;
  const double steps = std::clamp(std::nearbyint((weight - minimum) / scale), -double(type.middle()),
                                  double(type.maximum_code() - type.middle()));
  return scale * steps + minimum;
}

// The slow twin: every later column is updated after each, and a block's grids are fitted when its first
// column's turn has come.
std::vector<std::vector<double>> PlainLoop(const Problem& problem, const SolverOptions& options) {
  const GgufBlockType& type = *FindGgufBlockType(*options.gguf_type);
  const int64_t n = problem.columns_;
  const ColumnOrder order = MakeOrder(options, problem.hessians().Diagonal());
  const plain::Matrix u =
      plain::UpperCholesky(plain::Inverse(plain::Damped(problem.hessians(), order, options.damping)));
  plain::Matrix w = plain::PermutedWeight(problem, order), solved = plain::Zeros(problem.rows_, n);
  for (int64_t r = 0; r < problem.rows_; ++r) {
    GgufBlockGrid grid;
    for (int64_t p = 0; p < n; ++p) {
      if (p % type.columns == 0) {
        float values[kMostBlockColumns], importance[kMostBlockColumns];
        for (int64_t i = p; i < p + type.columns; ++i) {
          values[order.columns[i] % type.columns] = static_cast<float>(w[r][i]);
          importance[order.columns[i] % type.columns] = static_cast<float>(1 / (u[i][i] * u[i][i]));
        }
        grid = FitGgufBlock(type, values, importance);
      }
      const double q = Nearest(type, grid, order.columns[p], w[r][p]), e = (w[r][p] - q) / u[p][p];
      for (int64_t k = p; k < n; ++k) w[r][k] -= e * u[p][k];
      solved[r][order.columns[p]] = q;
    }
  }
  return solved;
}

TEST(GgufTile, TheColumnLoopIsThePlainOne) {
  for (const DType dtype : kAllTypes) {
    const Problem problem(6, Columns(dtype), 31, 600);
    const SolverOptions options = Options(dtype);
    const MatrixSolution solution = Solve(problem, options);
    const auto expected = PlainLoop(problem, options);
    // Where a grid hangs on the last bit of a weight, all that follows in its row differs: not in most rows.
    int same_rows = 0;
    for (int64_t r = 0; r < problem.rows_; ++r) {
      double gap = 0;
      for (int64_t c = 0; c < problem.columns_; ++c) {
        const double value = double{solution.result.dequantized[r * problem.columns_ + c]};
        gap = std::max(gap, std::abs(value - expected[r][c]));
      }
      same_rows += gap < 1e-5;
    }
    EXPECT_GE(same_rows, 5) << Name(dtype);
  }
}

TEST(GgufTile, LossIsThatOfTheBlocksAndBelowRounding) {
  for (const DType dtype : kAllTypes) {
    const Problem problem(70, Columns(dtype), 32, 300);
    const MatrixSolution solution = Solve(problem, Options(dtype));
    EXPECT_NEAR(solution.result.loss, solution.loss, 1e-3 * solution.loss) << Name(dtype);
    EXPECT_EQ(solution.result.blocks.dtype(), dtype);
    const Tensor values = ToFloat(solution.result.blocks.view());
    EXPECT_EQ(std::memcmp(values.data(), solution.result.dequantized.data(), values.bytes()), 0);
    const MatrixSolution rounded = Solve(problem, Options(dtype), 2, Method::kRoundToNearest);
    EXPECT_LT(solution.loss, 0.9 * rounded.loss) << Name(dtype);
    const MatrixSolution refined = Solve(problem, Options(dtype, 1));
    EXPECT_LT(refined.loss, 0.999 * solution.loss) << Name(dtype);
  }
}

TEST(GgufTile, EveryRoundOfRefiningLowersTheLoss) {
  for (const DType dtype : {DType::kQ4_0, DType::kQ4_1, DType::kQ2_K, DType::kQ3_K, DType::kQ4_K}) {
    const Problem problem(20, Columns(dtype), 33, 300);
    SolverOptions options = Options(dtype);
    double before = Solve(problem, options).loss;
    for (const auto& [refits, sweeps] : {std::pair{1, 0}, {2, 0}, {2, 1}, {4, 3}}) {
      options.refits = refits;
      options.sweeps = sweeps;
      const MatrixSolution solution = Solve(problem, options);
      EXPECT_LE(solution.loss, before * (1 + 1e-5)) << Name(dtype) << " " << refits << " " << sweeps;
      const Tensor values = ToFloat(solution.result.blocks.view());
      EXPECT_EQ(std::memcmp(values.data(), solution.result.dequantized.data(), values.bytes()), 0);
      before = solution.loss;
    }
  }
}

TEST(GgufTile, IdentityHessianGivesRoundToNearest) {
  for (const DType dtype : kAllTypes) {
    Problem problem(65, Columns(dtype), 34, 1);
    std::ranges::fill(problem.hessian, 0.0f);
    for (int64_t i = 0; i < problem.columns_; ++i) problem.hessian[i * problem.columns_ + i] = 1;
    SolverOptions options = Options(dtype);
    options.damping = 0;
    ThreadPool pool(2);
    const SolveResult rounded = RoundToNearest(problem.weights(), options, pool);
    const Tensor& solved = Solve(problem, options).result.blocks;
    int64_t different = 0;  // codes between two values, which divide and round in another order
    const Tensor a = ToFloat(rounded.blocks.view()), b = ToFloat(solved.view());
    for (int64_t i = 0; i < a.elements(); ++i) different += a.As<float>()[i] != b.As<float>()[i];
    EXPECT_LE(different, 2) << Name(dtype);
  }
}

TEST(GgufTile, StaticGroupsMayBeSolvedInAnyOrder) {
  for (const DType dtype : {DType::kQ4_1, DType::kQ4_K}) {
    const Problem problem(33, Columns(dtype), 35, 300);
    SolverOptions options = Options(dtype);
    options.clip = Clip::kNone;
    options.static_groups = true;
    options.order = Order::kActivation;
    const MatrixSolution solved = Solve(problem, options),
                         rounded = Solve(problem, options, 2, Method::kRoundToNearest);
    const GgufBlockType& type = *FindGgufBlockType(dtype);
    uint8_t codes[kMostBlockColumns];
    const int64_t bytes = ByteSize(dtype, type.columns);
    for (int64_t at = 0; at < solved.result.blocks.bytes(); at += bytes) {
      const GgufBlockGrid a = DecodeGgufBlock(type, solved.result.blocks.data() + at, codes),
                          b = DecodeGgufBlock(type, rounded.result.blocks.data() + at, codes);
      EXPECT_EQ(a.scale, b.scale);
      EXPECT_EQ(a.scales, b.scales);
      EXPECT_EQ(a.minima, b.minima);
    }
    EXPECT_LT(solved.loss, rounded.loss);
  }
}

TEST(GgufTile, SameBytesForAnyNumberOfThreads) {
  for (const DType dtype : {DType::kQ5_1, DType::kQ3_K}) {
    const Problem problem(200, Columns(dtype), 36);
    const MatrixSolution one = Solve(problem, Options(dtype, 1), 1);
    for (const int threads : {2, 3}) {
      const MatrixSolution more = Solve(problem, Options(dtype, 1), threads);
      EXPECT_EQ(std::memcmp(one.result.blocks.data(), more.result.blocks.data(), one.result.blocks.bytes()),
                0);
    }
  }
}

TEST(GgufTile, ZeroRowsAndDeadInputsStayZero) {
  for (const DType dtype : kAllTypes) {
    Problem problem(3, Columns(dtype), 37);
    std::fill_n(problem.weight.begin() + problem.columns_, problem.columns_, 0.0f);
    const SolveResult result = Solve(problem, Options(dtype, 1)).result;
    for (int64_t c = 0; c < problem.columns_; ++c)
      EXPECT_EQ(result.dequantized[problem.columns_ + c], 0.0f) << Name(dtype);
    for (int64_t c = 0; c < problem.columns_; ++c) problem.Kill(c);
    for (const float value : Solve(problem, Options(dtype, 1)).result.dequantized)
      EXPECT_EQ(value, 0.0f) << Name(dtype);
  }
}

}  // namespace gguf_tile_test
}  // namespace gptq
