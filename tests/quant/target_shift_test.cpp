#include "quant/target_shift.h"

#include <cmath>
#include <random>

#include "quant/solve_matrix.h"
#include "tests/quant/plain_solver.h"
#include "tests/test_util.h"

namespace gptq {
namespace target_shift_test {

// Both shares at one: the least-squares solution of h + T x = h_f + W f over all tokens, in float64, T = (W F
// Xᵀ + (H_f - H) Xᵀ) (X Xᵀ)⁻¹.
TEST(TargetShift, IsTheLeastSquaresSolution) {
  constexpr int64_t kRows = 7, kColumns = 30, kTokens = 700;
  const plain::Problem problem(kRows, kColumns, 41, kTokens);
  std::mt19937 generator(42);
  std::normal_distribution<float> normal;
  std::vector<float> unquantized = problem.inputs, residual(kTokens * kRows), lost(kTokens * kRows);
  for (float& x : unquantized) x += 0.3f * normal(generator);
  for (float& x : residual) x = normal(generator);
  for (size_t i = 0; i < lost.size(); ++i) lost[i] = residual[i] + 0.5f * unquantized[i / kRows * kColumns];
  ThreadPool pool(2);
  SolverOptions options;
  options.damping = 0;
  options.group_size = 8;
  const std::optional<InverseFactor> factor = FactorForOptions(problem.hessians(), options, "test", pool);
  ASSERT_TRUE(factor);
  DifferenceMoment input(kColumns, kColumns), stream(kRows, kColumns);
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 300}, {300, 400}}) {
    const float* x = problem.inputs.data() + first * kColumns;
    input.Add(unquantized.data() + first * kColumns, x, x, count, pool);
    stream.Add(lost.data() + first * kRows, residual.data() + first * kRows, x, count, pool);
  }

  plain::Matrix gram = plain::Zeros(kColumns, kColumns), cross = gram,
                difference = plain::Zeros(kRows, kColumns);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t j = 0; j < kColumns; ++j) {
      const double x = double{problem.inputs[t * kColumns + j]};
      for (int64_t i = 0; i < kColumns; ++i) {
        gram[i][j] += double{problem.inputs[t * kColumns + i]} * x;
        cross[i][j] += double{unquantized[t * kColumns + i]} * x;
      }
      for (int64_t r = 0; r < kRows; ++r)
        difference[r][j] += (double{lost[t * kRows + r]} - double{residual[t * kRows + r]}) * x;
    }
  }
  const plain::Matrix inverse = plain::Inverse(gram);
  for (const auto& [alpha, beta] : {std::pair{1.0, 0.0}, {0.5, 0.0}, {0.0, 1.0}, {1.0, 1.0}, {0.5, 0.25}}) {
    TargetShift shift{alpha, {}, beta, {}};
    if (alpha > 0) shift.input = input;
    if (beta > 0) shift.residual = stream;
    const std::vector<float> target = shift.Target(problem.weights(), *factor, pool);
    for (int64_t r = 0; r < kRows; ++r) {
      std::vector<double> full(kColumns), back(kColumns);
      for (int64_t i = 0; i < kColumns; ++i) {
        double product = 0;
        for (int64_t k = 0; k < kColumns; ++k)
          product += double{problem.weight[r * kColumns + k]} * cross[k][i];
        for (int64_t j = 0; j < kColumns; ++j) {
          full[j] += product * inverse[i][j];
          back[j] += difference[r][i] * inverse[i][j];
        }
      }
      for (int64_t j = 0; j < kColumns; ++j) {
        const double w = double{problem.weight[r * kColumns + j]};
        EXPECT_NEAR(double{target[r * kColumns + j]}, w + alpha * (full[j] - w) + beta * back[j], 2e-4);
      }
    }
  }
}

TEST(TargetShift, EqualInputsChangeNothing) {
  const plain::Problem problem(3, 20, 43);
  ThreadPool pool(1);
  const std::optional<InverseFactor> factor = FactorForOptions(problem.hessians(), {}, "test", pool);
  DifferenceMoment input(20, 20);
  input.Add(problem.inputs.data(), problem.inputs.data(), problem.inputs.data(), 200, pool);
  EXPECT_EQ((TargetShift{1, input, 0, {}}.Target(problem.weights(), *factor, pool)), problem.weight);
}

}  // namespace target_shift_test
}  // namespace gptq
