#include "quant/hessian.h"

#include <limits>

#include "quant/measure.h"
#include "quant/solve_matrix.h"
#include "tests/quant/plain_solver.h"
#include "tests/test_util.h"

namespace gptq {
namespace hessian_test {

using plain::Problem;

// `calls` Add calls of about equal length.
Hessian Accumulate(const Problem& problem, int64_t tokens, int64_t calls, int threads) {
  ThreadPool pool(threads);
  HessianAccumulator accumulator(problem.columns_);
  for (int64_t call = 0; call < calls; ++call) {
    const int64_t begin = tokens * call / calls, end = tokens * (call + 1) / calls;
    accumulator.Add(problem.inputs.data() + begin * problem.columns_, end - begin, problem.columns_, pool);
  }
  EXPECT_EQ(accumulator.tokens(), tokens);
  return accumulator.Finish(pool);
}

TEST(Hessian, IsTwiceTheMeanOuterProduct) {
  for (const int64_t columns : {1, 7, 257, 300}) {
    const Problem problem(1, columns, 1, 700);
    const Hessian hessian = Accumulate(problem, 700, 1, 2);
    for (int64_t i = 0; i < columns; ++i) {
      for (int64_t j = i; j < columns; ++j) {
        const float expected = problem.hessian[i * columns + j];
        const float size = std::sqrt(problem.hessian[i * columns + i] * problem.hessian[j * columns + j]);
        ASSERT_NEAR(hessian.values[i * columns + j], expected, 1e-5f * size) << i << " " << j;
      }
    }
  }
}

TEST(Hessian, DependsOnTheTokensOnly) {
  const Problem problem(1, 300, 2, 1300);
  const Hessian whole = Accumulate(problem, 1300, 1, 1);
  for (const int threads : {1, 2, 3}) {
    for (const int64_t calls : {1, 3, 1300}) {
      EXPECT_EQ(Accumulate(problem, 1300, calls, threads).values, whole.values) << threads << " " << calls;
    }
  }
}

TEST(Hessian, ShowsBadInputs) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30f}) {
    Problem problem(1, 20, 3);
    problem.inputs[37] = bad;
    EXPECT_FALSE(AllFinite(Accumulate(problem, 200, 1, 1).view()));
    ThreadPool pool(1);
    EXPECT_ERROR(HessianOfInputs(ConstMatrix(problem.inputs.data(), 200, 20), "blocks.3.q", pool),
                 "blocks.3.q");
  }
}

TEST(Hessian, WithoutTokensIsZero) {
  ThreadPool pool(1);
  const Hessian hessian = HessianAccumulator(4).Finish(pool);
  for (const float h : hessian.values) EXPECT_EQ(h, 0.0f);
}

TEST(Measure, IsTheTraceOfTheDefinition) {
  Problem problem(300, 270, 4);
  problem.Kill(7);
  std::vector<float> quantized = problem.weight;
  for (float& q : quantized) q = std::nearbyint(q * 4) / 4;
  const double lambda = 0.3;
  double error = 0, damped = 0, whole = 0;
  for (int64_t r = 0; r < 300; ++r) {
    std::vector<double> d(270), w(270);
    for (int64_t c = 0; c < 270; ++c) {
      w[c] = double{problem.weight[r * 270 + c]};
      d[c] = w[c] - double{quantized[r * 270 + c]};
    }
    for (int64_t i = 0; i < 270; ++i) {
      for (int64_t j = 0; j < 270; ++j) {
        error += d[i] * double{problem.hessian[i * 270 + j]} * d[j];
        whole += w[i] * double{problem.hessian[i * 270 + j]} * w[j];
      }
      if (i != 7) damped += lambda * d[i] * d[i];
    }
  }
  // Only the upper triangle may be read.
  for (int64_t i = 0; i < 270; ++i) std::fill_n(problem.hessian.begin() + i * 270, i, -1e9f);
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    const LayerError measured = MeasureError(problem.weights(), ConstMatrix(quantized.data(), 300, 270),
                                             problem.hessians(), lambda, pool);
    EXPECT_NEAR(measured.loss, error + damped, 1e-9 * measured.loss);
    EXPECT_NEAR(measured.relative_error, std::sqrt(error / whole), 1e-9);
  }
}

TEST(SolveMatrix, NamesWhatIsWrong) {
  Problem problem(4, 20, 5);
  ThreadPool pool(1);
  const auto solve = [&](const HessianView& hessian) {
    return SolveMatrix(problem.weights(), hessian, Method::kGptq, SolverOptions(), "blocks.3.q", pool);
  };
  EXPECT_ERROR(solve({problem.hessian.data(), 19}), "blocks.3.q");
  problem.hessian[5] = std::numeric_limits<float>::infinity();
  EXPECT_ERROR(solve(problem.hessians()), "Hessian");
  problem.hessian[5] = 0;
  problem.hessian[21] = -1;
  EXPECT_ERROR(solve(problem.hessians()), "negative");
  problem.hessian[21] = 1;
  problem.weight[11] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_ERROR(solve(problem.hessians()), "weight");
}

TEST(RepairHessian, CutsBrokenInputsLoose) {
  Problem problem(8, 20, 9);
  Hessian hessian{20, 200, problem.hessian};
  for (int64_t i = 0; i < 20; ++i) std::fill_n(hessian.values.begin() + i * 20, i, 0.0f);
  const Hessian whole = hessian;
  EXPECT_EQ(RepairHessian(hessian), 0);
  EXPECT_EQ(hessian.values, whole.values);
  hessian.values[2 * 20 + 11] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(RepairHessian(hessian), 2);  // no knowing which of the two it came from

  hessian = whole;
  hessian.values[7 * 20 + 7] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(RepairHessian(hessian), 1);
  EXPECT_TRUE(AllFinite(hessian.view()));
  EXPECT_EQ(hessian.values[3 * 20 + 5], whole.values[3 * 20 + 5]);
  EXPECT_EQ(hessian.values[3 * 20 + 7], 0);
  ThreadPool pool(1);
  const MatrixSolution solution =
      SolveMatrix(problem.weights(), hessian.view(), Method::kGptq, SolverOptions(), "test", pool);
  EXPECT_FALSE(solution.fell_back);
  EXPECT_TRUE(std::isfinite(solution.loss));
}

TEST(SolveMatrix, FallsBackToRoundToNearest) {
  Problem problem(4, 20, 6);
  for (float& w : problem.weight) w *= 1e37f;  // the updates overflow
  ThreadPool pool(1);
  const MatrixSolution solution =
      SolveMatrix(problem.weights(), problem.hessians(), Method::kGptq, SolverOptions(), "blocks.3.q", pool);
  EXPECT_TRUE(solution.fell_back);
  EXPECT_THAT(solution.warnings.front(), testing::HasSubstr("overflowed"));
  for (const float q : solution.result.dequantized) EXPECT_TRUE(std::isfinite(q));
}

}  // namespace hessian_test
}  // namespace gptq
