#include "quant/refine.h"

#include <cmath>

#include "quant/factor.h"
#include "quant/measure.h"
#include "quant/solve_matrix.h"
#include "tests/quant/plain_solver.h"
#include "tests/test_util.h"

namespace gptq {
namespace refine_test {

using plain::Problem;

SolverOptions Options(int bits, int64_t group_size, bool symmetric) {
  SolverOptions options;
  options.bits = bits;
  options.group_size = group_size;
  options.symmetric = symmetric;
  return options;
}

MatrixSolution Solve(const Problem& problem, const SolverOptions& options, int threads = 2) {
  ThreadPool pool(threads);
  return SolveMatrix(problem.weights(), problem.hessians(), Method::kGptq, options, "test", pool);
}

TEST(Refine, EveryRoundLowersTheLossAndKeepsTheGrid) {
  Problem problem(70, 96, 21);
  problem.Kill(5);
  for (const int64_t group : {-1, 32, 40}) {
    for (const bool symmetric : {false, true}) {
      SolverOptions options = Options(3, group, symmetric);
      options.refits = 0;
      double before = Solve(problem, options).loss;
      const double start = before;
      for (const auto& [refits, sweeps] : {std::pair{0, 1}, {0, 3}, {1, 3}, {4, 3}}) {
        options.refits = refits;
        options.sweeps = sweeps;
        const MatrixSolution solution = Solve(problem, options);
        EXPECT_LE(solution.loss, before * (1 + 1e-5)) << group << " " << refits << " " << sweeps;
        before = solution.loss;
        const SolveResult& result = solution.result;
        for (int64_t r = 0; r < result.rows; ++r) {
          for (int64_t c = 0; c < result.columns; ++c) {
            const int64_t grid = r * result.groups + result.group_index[c];
            const float steps = static_cast<float>(result.codes[r * result.columns + c]) - result.zeros[grid];
            ASSERT_LE(result.codes[r * result.columns + c], options.maximum_code());
            ASSERT_NEAR(result.dequantized[r * result.columns + c], steps * result.scales[grid],
                        1e-5f * std::abs(result.scales[grid]));
          }
        }
      }
      EXPECT_LT(before, start);
    }
  }
}

// The slow twin: no change of a single code by one step helps once the sweeps have settled.
TEST(Refine, SweepsEndWhereNoSingleCodeCanBeBetter) {
  const Problem problem(8, 48, 22);
  SolverOptions options = Options(3, 16, false);
  options.sweeps = 50;
  const MatrixSolution solution = Solve(problem, options);
  const SolveResult& result = solution.result;
  const ColumnOrder order = NaturalOrder(options, 48);
  const plain::Matrix h = plain::Damped(problem.hessians(), order, options.damping);
  for (int64_t r = 0; r < result.rows; ++r) {
    std::vector<double> difference(48), gradient(48);
    for (int64_t c = 0; c < 48; ++c)
      difference[c] = double{problem.weight[r * 48 + c]} - double{result.dequantized[r * 48 + c]};
    for (int64_t c = 0; c < 48; ++c) {
      for (int64_t k = 0; k < 48; ++k) gradient[c] += h[c][k] * difference[k];
    }
    for (int64_t c = 0; c < 48; ++c) {
      const double scale = double{result.scales[r * result.groups + result.group_index[c]]};
      for (const int step : {-1, 1}) {
        const int code = result.codes[r * 48 + c] + step;
        if (code < 0 || code > options.maximum_code()) continue;
        const double change = step * scale;
        EXPECT_GT(change * change * h[c][c] - 2 * change * gradient[c], -1e-4) << r << " " << c;
      }
    }
  }
}

TEST(Refine, SameBytesForAnyNumberOfThreads) {
  const Problem problem(200, 96, 23);
  SolverOptions options = Options(2, 32, false);
  options.refits = 2;
  options.sweeps = 1;
  const SolveResult one = Solve(problem, options, 1).result;
  for (const int threads : {2, 3}) {
    const SolveResult more = Solve(problem, options, threads).result;
    EXPECT_EQ(one.codes, more.codes);
    EXPECT_EQ(one.scales, more.scales);
    EXPECT_EQ(one.zeros, more.zeros);
  }
}

}  // namespace refine_test
}  // namespace gptq
