#include "quant/factor.h"

#include "tests/quant/plain_solver.h"
#include "tests/test_util.h"

namespace gptq {
namespace factor_test {

using plain::Problem;

std::optional<InverseFactor> Factor(const HessianView& hessian, double damping, int threads = 2) {
  ThreadPool pool(threads);
  SolverOptions options;
  options.group_size = 16;
  return FactorInverse(hessian, MakeOrder(options, hessian.Diagonal()), damping, pool);
}

// The greatest entry of UᵀU (H + lambda I) / scale - I.
double InverseGap(const InverseFactor& factor, const HessianView& hessian) {
  const int64_t n = factor.columns();
  const plain::Matrix damped = plain::Damped(hessian, factor.order, factor.damping);
  double gap = 0;
  for (int64_t i = 0; i < n; ++i) {
    std::vector<double> row(static_cast<size_t>(n)), product(static_cast<size_t>(n));
    for (int64_t k = 0; k <= i; ++k) {
      for (int64_t j = k; j < n; ++j)
        row[j] += double{factor.upper[k * n + i]} * double{factor.upper[k * n + j]};
    }
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t j = 0; j < n; ++j) product[j] += row[k] * damped[k][j] / factor.hessian_scale;
    }
    product[i] -= 1;
    for (const double p : product) gap = std::max(gap, std::abs(p));
  }
  return gap;
}

TEST(Factor, InvertsTheDampedHessianForAnySize) {
  for (const int64_t n : {1, 2, 17, 128, 129, 300}) {
    Problem problem(1, n, 1, 50);
    if (n > 5) problem.Kill(4);
    const auto factor = Factor(problem.hessians(), 0.01);
    ASSERT_TRUE(factor.has_value());
    EXPECT_EQ(factor->attempts, 1);
    EXPECT_LT(InverseGap(*factor, problem.hessians()), 1e-3) << n;
    EXPECT_EQ(n > 5, n > 4 && factor->dead[4] != 0);
  }
}

TEST(Factor, SameBytesForAnyNumberOfThreads) {
  const Problem problem(1, 400, 2, 100);
  const auto one = Factor(problem.hessians(), 0.01, 1);
  for (const int threads : {2, 3}) EXPECT_EQ(Factor(problem.hessians(), 0.01, threads)->upper, one->upper);
}

TEST(Factor, RaisesTheDampingOfASingularHessian) {
  const Problem problem(1, 64, 3, 5);  // rank 5
  const auto factor = Factor(problem.hessians(), 0);
  ASSERT_TRUE(factor.has_value());
  EXPECT_GT(factor->attempts, 1);
  EXPECT_GT(factor->damping, 0);
  EXPECT_LE(factor->damping, 0.001);
}

TEST(Factor, RaisesTheDampingOfAnIndefiniteHessian) {
  Problem problem(1, 64, 4);
  const float middle = problem.hessian[10 * 64 + 10];
  problem.hessian[9 * 64 + 10] = 1.2f * std::sqrt(middle * problem.hessian[9 * 64 + 9]);
  const auto factor = Factor(problem.hessians(), 0.01);
  ASSERT_TRUE(factor.has_value());
  EXPECT_GT(factor->damping, 0.01);
  for (const float u : factor->upper) EXPECT_TRUE(std::isfinite(u));
}

TEST(Factor, RaisesTheDiagonalWhereNoDampingHelps) {
  Problem broken(1, 64, 5);
  broken.hessian[3 * 64 + 10] = 1e30f;
  const auto factor = Factor(broken.hessians(), 0.01);
  ASSERT_TRUE(factor.has_value());
  EXPECT_GE(factor->floored, 2);
  for (const float u : factor->upper) EXPECT_TRUE(std::isfinite(u));
}

TEST(Factor, GivesUpWhereNothingHelps) {
  Problem broken(1, 64, 5);
  broken.hessian[3 * 64 + 10] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(Factor(broken.hessians(), 0.01).has_value());
}

TEST(Factor, StandsAnyScale) {
  Problem problem(1, 64, 6);
  for (const float factor : {1e-30f, 1e30f}) {
    Problem scaled = problem;
    for (float& h : scaled.hessian) h *= factor;
    const auto result = Factor(scaled.hessians(), 0.01);
    ASSERT_TRUE(result.has_value());
    EXPECT_LT(InverseGap(*result, scaled.hessians()), 1e-3);
  }
}

TEST(Factor, StandsDuplicatesAndOutliers) {
  Problem problem(1, 64, 7);
  for (int64_t i = 0; i < 64; ++i) problem.hessian[i * 64 + 1] = problem.hessian[i * 64];
  for (int64_t i = 0; i < 64; ++i) problem.hessian[1 * 64 + i] = problem.hessian[0 * 64 + i];
  for (int64_t i = 0; i < 64; ++i) {  // one channel a thousand times louder
    problem.hessian[i * 64 + 9] *= 1000;
    problem.hessian[9 * 64 + i] *= 1000;
  }
  const auto factor = Factor(problem.hessians(), 0.01);
  ASSERT_TRUE(factor.has_value());
  EXPECT_EQ(factor->attempts, 1);
}

}  // namespace factor_test
}  // namespace gptq
