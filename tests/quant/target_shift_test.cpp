#include "quant/target_shift.h"

#include <cmath>
#include <random>

#include "quant/solve_matrix.h"
#include "tests/quant/plain_solver.h"
#include "tests/test_util.h"

namespace gptq {
namespace {

// The least-squares solution of W f = T x over all tokens, in float64: T = W F Xᵀ (X Xᵀ)⁻¹.
TEST(TargetShift, IsTheLeastSquaresSolution) {
  const plain::Problem problem(7, 30, 41, 700);
  std::mt19937 generator(42);
  std::normal_distribution<float> normal;
  std::vector<float> unquantized = problem.inputs;
  for (float& x : unquantized) x += 0.3f * normal(generator);
  ThreadPool pool(2);
  SolverOptions options;
  options.damping = 0;
  options.group_size = 8;
  const std::optional<InverseFactor> factor = FactorForOptions(problem.hessians(), options, "test", pool);
  ASSERT_TRUE(factor);
  InputShift shift(30);
  shift.Add(unquantized.data(), problem.inputs.data(), 300, pool);
  shift.Add(unquantized.data() + 300 * 30, problem.inputs.data() + 300 * 30, 400, pool);

  plain::Matrix gram = plain::Zeros(30, 30), cross = plain::Zeros(30, 30);
  for (int64_t t = 0; t < 700; ++t) {
    for (int64_t i = 0; i < 30; ++i) {
      for (int64_t j = 0; j < 30; ++j) {
        gram[i][j] += double{problem.inputs[t * 30 + i]} * double{problem.inputs[t * 30 + j]};
        cross[i][j] += double{unquantized[t * 30 + i]} * double{problem.inputs[t * 30 + j]};
      }
    }
  }
  const plain::Matrix inverse = plain::Inverse(gram);
  for (const double alpha : {1.0, 0.5}) {
    const std::vector<float> target = shift.Target(problem.weights(), *factor, alpha, pool);
    for (int64_t r = 0; r < 7; ++r) {
      std::vector<double> product(30);
      for (int64_t i = 0; i < 30; ++i) {
        for (int64_t j = 0; j < 30; ++j) product[j] += double{problem.weight[r * 30 + i]} * cross[i][j];
      }
      for (int64_t j = 0; j < 30; ++j) {
        double full = 0;
        for (int64_t i = 0; i < 30; ++i) full += product[i] * inverse[i][j];
        const double w = double{problem.weight[r * 30 + j]};
        EXPECT_NEAR(double{target[r * 30 + j]}, w + alpha * (full - w), 2e-4);
      }
    }
  }
}

TEST(TargetShift, EqualInputsChangeNothing) {
  const plain::Problem problem(3, 20, 43);
  ThreadPool pool(1);
  const std::optional<InverseFactor> factor = FactorForOptions(problem.hessians(), {}, "test", pool);
  InputShift shift(20);
  shift.Add(problem.inputs.data(), problem.inputs.data(), 200, pool);
  EXPECT_EQ(shift.Target(problem.weights(), *factor, 1.0, pool), problem.weight);
}

}  // namespace
}  // namespace gptq
