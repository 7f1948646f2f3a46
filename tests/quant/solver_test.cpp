#include "quant/solver.h"

#include <cstring>

#include "quant/measure.h"
#include "quant/rtn.h"
#include "quant/solve_matrix.h"
#include "tests/quant/plain_solver.h"
#include "tests/test_util.h"

namespace gptq {
namespace solver_test {

using plain::Problem;

SolverOptions Plain(int bits, int64_t group_size, Order order = Order::kNatural) {
  SolverOptions options = ReferenceRecipe();
  options.bits = bits;
  options.group_size = group_size;
  options.order = order;
  options.group_grid = GroupGrid::kUpToDate;
  return options;
}

InverseFactor Factor(const Problem& problem, const SolverOptions& options, ThreadPool& pool) {
  std::optional<InverseFactor> factor = FactorForOptions(problem.hessians(), options, "test", pool);
  CHECK(factor.has_value());
  return *std::move(factor);
}

SolveResult Solve(const Problem& problem, const SolverOptions& options, int threads = 2) {
  ThreadPool pool(threads);
  return SolveGptq(problem.weights(), Factor(problem, options, pool), options, pool);
}

// The greatest difference of the result from a plain solution, whose columns are in the order's positions.
double Gap(const SolveResult& result, const plain::Solution& solution, const ColumnOrder& order) {
  double gap = 0;
  for (int64_t r = 0; r < result.rows; ++r) {
    for (int64_t p = 0; p < result.columns; ++p) {
      const double value = double{result.dequantized[r * result.columns + order.columns[p]]};
      gap = std::max(gap, std::abs(value - solution.quantized[r][p]));
    }
  }
  return gap;
}

double Gap(const plain::Solution& a, const plain::Solution& b) {
  double gap = std::abs(a.loss - b.loss) / std::max(a.loss, 1e-300);
  for (size_t r = 0; r < a.quantized.size(); ++r) {
    for (size_t c = 0; c < a.quantized[r].size(); ++c) {
      gap = std::max(gap, std::abs(a.quantized[r][c] - b.quantized[r][c]));
    }
  }
  return gap;
}

TEST(Solver, LazyBlocksPlainLoopAndDowndatedInverseAgree) {
  const Problem problem(5, 40, 1);
  for (const int64_t group : {-1, 8, 12}) {
    const SolverOptions options = Plain(3, group);
    const ColumnOrder order = NaturalOrder(options, 40);
    const plain::Solution obq = plain::FixedOrderObq(problem, order, options);
    for (const int64_t block : {1, 3, 8, 16, 40, 100}) {
      EXPECT_LT(Gap(plain::Blocked(problem, order, options, block), obq), 1e-9) << group << " " << block;
    }
  }
}

TEST(Solver, IsThePlainLoopWhateverBlocksGroupsAndOrder) {
  const Problem problem(70, 50, 2);
  for (const Order kind : {Order::kNatural, Order::kActivation}) {
    for (const int64_t group : {-1, 1, 5, 16, 20, 33, 64}) {
      SolverOptions options = Plain(4, group, kind);
      const ColumnOrder order = MakeOrder(options, problem.hessians().Diagonal());
      const plain::Solution expected = plain::Blocked(problem, order, options, 1);
      for (const int64_t block : {1, 7, 16, 32, 48, 128}) {
        options.block_size = block;
        const SolveResult result = Solve(problem, options);
        EXPECT_LT(Gap(result, expected, order), 1e-4)
            << Name(kind) << " group " << group << " block " << block;
        EXPECT_NEAR(result.loss, expected.loss, 1e-4 * expected.loss + 1e-9);
      }
    }
  }
}

TEST(Solver, GroupAwareOrderIsThePlainLoopOfWholeGroups) {
  const Problem problem(20, 48, 3);
  const SolverOptions options = Plain(3, 16, Order::kGroup);
  const ColumnOrder order = MakeOrder(options, problem.hessians().Diagonal());
  const SolveResult result = Solve(problem, options);
  EXPECT_LT(Gap(result, plain::Blocked(problem, order, options, 1), order), 1e-4);
  for (int64_t c = 0; c < 48; ++c) EXPECT_EQ(result.group_index[c], c / 16);
}

TEST(Solver, GroupAwareOrderTakesAShortLastGroupAnywhere) {
  Problem problem(20, 50, 4);
  for (int64_t c = 48; c < 50; ++c) {  // the two columns of the short group become the heaviest
    for (int64_t i = 0; i < 50; ++i) {
      problem.hessian[i * 50 + c] *= 100;
      problem.hessian[c * 50 + i] *= 100;
    }
  }
  const SolverOptions options = Plain(3, 16, Order::kGroup);
  const ColumnOrder order = MakeOrder(options, problem.hessians().Diagonal());
  EXPECT_GE(order.columns[0], 48);
  const SolveResult result = Solve(problem, options);
  ThreadPool pool(1);
  const LayerError error =
      MeasureError(problem.weights(), ConstMatrix(result.dequantized.data(), 20, 50), problem.hessians(),
                   options.damping * MeanDiagonal(problem.hessians()), pool);
  EXPECT_NEAR(result.loss, error.loss, 1e-4 * error.loss);
}

TEST(Solver, ReferenceGridsMissTheUpdatesOfTheBlock) {
  const Problem problem(20, 60, 5);
  for (const int64_t group : {5, 16, 24}) {
    SolverOptions options = Plain(4, group);
    options.group_grid = GroupGrid::kReference;
    for (const int64_t block : {16, 32}) {
      options.block_size = block;
      const ColumnOrder order = NaturalOrder(options, 60);
      const plain::Solution expected = plain::Blocked(problem, order, options, block);
      EXPECT_LT(Gap(Solve(problem, options), expected, order), 1e-4) << group << " " << block;
    }
  }
}

TEST(Solver, LossIsTheDampedErrorClippingIncluded) {
  Problem problem(37, 61, 6);
  problem.Kill(3);
  problem.Kill(60);
  for (const Clip clip : {Clip::kNone, Clip::kMse}) {
    for (const Order order : {Order::kNatural, Order::kActivation, Order::kGroup}) {
      for (const bool symmetric : {false, true}) {
        SolverOptions options = Plain(2, 16, order);
        options.clip = clip;
        options.symmetric = symmetric;
        options.scale_type = DType::kF16;
        ThreadPool pool(2);
        const MatrixSolution solution =
            SolveMatrix(problem.weights(), problem.hessians(), Method::kGptq, options, "test", pool);
        EXPECT_NEAR(solution.result.loss, solution.loss, 1e-4 * solution.loss);
        EXPECT_GT(solution.relative_error, 0);
        const MatrixSolution rounded = SolveMatrix(problem.weights(), problem.hessians(),
                                                   Method::kRoundToNearest, options, "test", pool);
        EXPECT_LT(solution.loss, rounded.loss);
      }
    }
  }
}

TEST(Solver, IdentityHessianGivesRoundToNearest) {
  Problem problem(70, 45, 7);
  std::fill(problem.hessian.begin(), problem.hessian.end(), 0.0f);
  for (int64_t i = 0; i < 45; ++i) problem.hessian[i * 45 + i] = 1;
  for (const Order order : {Order::kNatural, Order::kActivation, Order::kGroup}) {
    for (const int64_t group : {-1, 7, 16}) {
      SolverOptions options = Plain(3, group, order);
      options.scale_type = DType::kF16;
      ThreadPool pool(2);
      const SolveResult rounded = RoundToNearest(problem.weights(), options, pool);
      const SolveResult solved = Solve(problem, options);
      EXPECT_EQ(solved.codes, rounded.codes);
      EXPECT_EQ(solved.scales, rounded.scales);
      EXPECT_EQ(solved.zeros, rounded.zeros);
      EXPECT_EQ(solved.dequantized, rounded.dequantized);
    }
  }
}

TEST(Solver, WithoutClippingIsLdlq) {
  Problem problem(10, 40, 8);
  // One great weight in the first column widens the grid so far that nothing clips.
  for (int64_t r = 0; r < 10; ++r) {
    problem.weight[r * 40] = 30;
    problem.weight[r * 40 + 1] = -30;
  }
  const SolverOptions options = Plain(8, -1);
  const ColumnOrder order = NaturalOrder(options, 40);
  EXPECT_LT(Gap(Solve(problem, options), plain::Ldlq(problem, order, options), order), 1e-4);
}

TEST(Solver, StaticGroupsUseTheGivenWeights) {
  const Problem problem(33, 50, 9);
  SolverOptions options = Plain(4, 16, Order::kActivation);
  options.static_groups = true;
  const SolveResult solved = Solve(problem, options);
  ThreadPool pool(1);
  const SolveResult rounded = RoundToNearest(problem.weights(), options, pool);
  EXPECT_EQ(solved.scales, rounded.scales);
  EXPECT_EQ(solved.zeros, rounded.zeros);
  EXPECT_EQ(solved.group_index, rounded.group_index);
}

TEST(Solver, SameBytesForAnyNumberOfThreads) {
  const Problem problem(200, 300, 10);
  for (const Order order : {Order::kNatural, Order::kGroup}) {
    SolverOptions options = Plain(3, 32, order);
    options.clip = Clip::kMse;
    const SolveResult one = Solve(problem, options, 1);
    for (const int threads : {2, 3}) {
      const SolveResult more = Solve(problem, options, threads);
      EXPECT_EQ(one.codes, more.codes);
      EXPECT_EQ(one.scales, more.scales);
      EXPECT_EQ(one.loss, more.loss);
    }
  }
}

TEST(Solver, OddShapes) {
  for (const auto& [rows, columns] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {1, 37}, {65, 1}, {3, 129}}) {
    const Problem problem(rows, columns, 11);
    for (const int64_t group : {-1, 1, 32, 1000}) {
      for (const Order order : {Order::kNatural, Order::kActivation, Order::kGroup}) {
        SolverOptions options = Plain(4, group, order);
        options.scale_type = DType::kF16;
        const SolveResult result = Solve(problem, options);
        const PackedWeight packed = ToPackedWeight(result, options, "test");
        std::vector<float> row(static_cast<size_t>(columns));
        for (int64_t r = 0; r < rows; ++r) {
          DequantizeRow(packed, r, row.data());
          EXPECT_EQ(
              std::memcmp(row.data(), result.dequantized.data() + r * columns, row.size() * sizeof(float)),
              0);
        }
      }
    }
  }
}

TEST(Solver, ZeroRowsAndAllDeadInputsStayZero) {
  Problem problem(3, 20, 12);
  std::fill_n(problem.weight.begin() + 20, 20, 0.0f);
  for (const bool symmetric : {false, true}) {
    SolverOptions options = Plain(4, 8, Order::kGroup);
    options.symmetric = symmetric;
    const SolveResult result = Solve(problem, options);
    for (int64_t c = 0; c < 20; ++c) EXPECT_EQ(result.dequantized[20 + c], 0.0f);
  }
  for (int64_t c = 0; c < 20; ++c) problem.Kill(c);
  const SolveResult result = Solve(problem, Plain(4, 8, Order::kGroup));
  for (const float value : result.dequantized) EXPECT_EQ(value, 0.0f);
  EXPECT_EQ(result.loss, 0);
}

TEST(Solver, ScaleOfTheHessianDoesNotMatter) {
  Problem problem(20, 40, 13);
  const SolverOptions options = Plain(3, 8);
  const SolveResult plain_result = Solve(problem, options);
  for (const float factor : {0x1p-90f, 0x1p100f}) {
    Problem scaled = problem;
    for (float& h : scaled.hessian) h *= factor;
    const SolveResult result = Solve(scaled, options);
    EXPECT_EQ(result.codes, plain_result.codes);
    EXPECT_NEAR(result.loss / double{factor}, plain_result.loss, 1e-6 * plain_result.loss);
  }
}

TEST(Solver, MinimumZeroHoldsInEveryGroup) {
  Problem problem(20, 40, 14);
  for (float& w : problem.weight) w = std::abs(w);
  SolverOptions options = Plain(3, 8);
  options.minimum_zero = 1;
  for (const Clip clip : {Clip::kNone, Clip::kMse}) {
    options.clip = clip;
    const SolveResult result = Solve(problem, options);
    for (const float zero : result.zeros) EXPECT_GE(zero, 1.0f);
  }
}

TEST(Solver, HugeWeightsNeverGiveNaN) {
  Problem problem(5, 40, 16);
  for (float& w : problem.weight) w *= 5e37f;
  ThreadPool pool(1);
  for (const DType type : {DType::kF16, DType::kF32}) {
    SolverOptions options = Plain(4, 8);
    options.scale_type = type;
    const MatrixSolution solution =
        SolveMatrix(problem.weights(), problem.hessians(), Method::kGptq, options, "test", pool);
    for (const float q : solution.result.dequantized) ASSERT_TRUE(std::isfinite(q));
    if (type == DType::kF16) {
      EXPECT_GT(solution.result.saturated_scales, 0);
      EXPECT_FALSE(solution.warnings.empty());
    }
  }
}

TEST(Solver, TernaryPacksAsTwoBits) {
  const Problem problem(9, 40, 15);
  SolverOptions options = Plain(2, -1);
  options.ternary = true;
  const SolveResult asymmetric = Solve(problem, options);
  EXPECT_ERROR(ToPackedWeight(asymmetric, options, "some.linear"), "some.linear");
  options.symmetric = true;
  const SolveResult result = Solve(problem, options);
  const PackedWeight packed = ToPackedWeight(result, options, "some.linear");
  EXPECT_EQ(packed.bits, 2);
  std::vector<float> row(40);
  for (int64_t r = 0; r < 9; ++r) {
    DequantizeRow(packed, r, row.data());
    for (int64_t c = 0; c < 40; ++c) EXPECT_EQ(row[c], result.dequantized[r * 40 + c]);
  }
}

}  // namespace solver_test
}  // namespace gptq
