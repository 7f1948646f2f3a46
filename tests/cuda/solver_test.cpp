// The solver on the GPU, or on its emulation, against the processor's.
#include "quant/cuda/solver.h"

#include <cmath>

#include "quant/measure.h"
#include "tests/quant/plain_solver.h"
#include "tests/test_util.h"

namespace gptq {
namespace solver_test {

using plain::Problem;

class CudaSolverTest : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda::DeviceCount() == 0) GTEST_SKIP() << "there is no CUDA device";
    device_ = std::make_shared<cuda::Device>(0);
  }

  cuda::Metric MakeMetric(const HessianView& hessian, const SolverOptions& options) {
    return cuda::Metric(cuda::Upload(device_, hessian), options, "test");
  }

  MatrixSolution Solve(const Problem& problem, const SolverOptions& options, Method method = Method::kGptq) {
    cuda::Metric metric = MakeMetric(problem.hessians(), options);
    return cuda::SolveMatrix(problem.weights(), metric, method, options, "test", pool_);
  }

  void ExpectSame(const Problem& problem, const SolverOptions& options) {
    ASSERT_TRUE(cuda::Supports(options));
    const MatrixSolution found = Solve(problem, options);
    ExpectSame(
        gptq::SolveMatrix(problem.weights(), problem.hessians(), Method::kGptq, options, "test", pool_),
        found);
    // The device's figures are those of what was stored.
    const SolveResult& result = found.result;
    const double lambda = found.damping * MeanDiagonal(problem.hessians());
    const LayerError measured =
        MeasureError(problem.weights(), ConstMatrix(result.dequantized.data(), result.rows, result.columns),
                     problem.hessians(), lambda, pool_);
    EXPECT_NEAR(found.loss, measured.loss, 1e-4 * measured.loss);
    EXPECT_NEAR(found.relative_error, measured.relative_error, 1e-4 * measured.relative_error);
  }

  static void ExpectSame(const MatrixSolution& expected, const MatrixSolution& found) {
    EXPECT_EQ(found.fell_back, expected.fell_back);
    EXPECT_EQ(found.warnings, expected.warnings);
    EXPECT_EQ(found.damping, expected.damping);
    EXPECT_NEAR(found.loss, expected.loss, 0.005 * expected.loss);
    EXPECT_NEAR(found.relative_error, expected.relative_error, 0.005 * expected.relative_error);
    EXPECT_NEAR(found.outputs, expected.outputs, 1e-5 * expected.outputs);
    ExpectSame(expected.result, found.result);
  }

  static void ExpectSame(const SolveResult& expected, const SolveResult& found) {
    EXPECT_NEAR(found.loss, expected.loss, 0.005 * expected.loss);
    EXPECT_EQ(found.saturated_scales, expected.saturated_scales);
    ASSERT_EQ(found.group_index, expected.group_index);
    ASSERT_EQ(found.codes.size(), expected.codes.size());
    ASSERT_EQ(found.scales.size(), expected.scales.size());
    ASSERT_EQ(found.zeros.size(), expected.zeros.size());
    EXPECT_GE(EqualShare(found.codes, expected.codes), 0.995);
    EXPECT_GE(EqualShare(found.scales, expected.scales), 0.8);
    EXPECT_GE(EqualShare(found.zeros, expected.zeros), 0.99);
    for (int64_t r = 0; r < found.rows; ++r) {
      for (int64_t c = 0; c < found.columns; ++c) {
        const int64_t grid = r * found.groups + found.group_index[c], i = r * found.columns + c;
        const float value = found.scales[grid] * (static_cast<float>(found.codes[i]) - found.zeros[grid]);
        ASSERT_EQ(found.dequantized[i], value) << r << ", " << c;
      }
    }
  }

  template <typename T>
  static double EqualShare(const std::vector<T>& a, const std::vector<T>& b) {
    size_t equal = 0;
    for (size_t i = 0; i < a.size(); ++i) equal += a[i] == b[i];
    return static_cast<double>(equal) / static_cast<double>(a.size());
  }

  std::shared_ptr<cuda::Device> device_;
  ThreadPool pool_{2};
};

SolverOptions Options(int bits, int64_t group_size, bool symmetric) {
  SolverOptions options;
  options.bits = bits;
  options.group_size = group_size;
  options.symmetric = symmetric;
  return options;
}

TEST_F(CudaSolverTest, HessiansComeAndGo) {
  Hessian hessian{3, 7, {1, 2, 3, 0, 4, 5, 0, 0, 6}};
  const cuda::DeviceHessian copy = cuda::Upload(device_, hessian.view(), hessian.tokens);
  EXPECT_EQ(cuda::Download(copy).values, hessian.values);
  EXPECT_EQ(cuda::Download(copy).tokens, 7);
  EXPECT_EQ(cuda::Diagonal(copy), (std::vector<float>{1, 4, 6}));
  EXPECT_TRUE(cuda::AllFinite(copy));
  hessian.values[5] = INFINITY;
  EXPECT_FALSE(cuda::AllFinite(cuda::Upload(device_, hessian.view())));
}

TEST_F(CudaSolverTest, FactorMatches) {
  Problem problem(1, 150, 3);
  problem.Kill(7);
  problem.Kill(149);
  for (const Order order : {Order::kNatural, Order::kActivation, Order::kGroup, Order::kPivot}) {
    SolverOptions options = Options(4, 64, false);
    options.order = order;
    const cuda::Metric metric = MakeMetric(problem.hessians(), options);
    const std::optional<InverseFactor> expected =
        FactorForOptions(problem.hessians(), options, "test", pool_);
    ASSERT_TRUE(metric.factored() && expected);
    EXPECT_EQ(metric.order().columns, expected->order.columns);
    EXPECT_EQ(metric.dead(), expected->dead);
    EXPECT_EQ(metric.hessian_scale(), expected->hessian_scale);
    EXPECT_EQ(metric.lambda(), expected->lambda);
    EXPECT_EQ(metric.attempts(), 1);
    std::vector<float> upper(expected->upper.size());
    device_->ToHost(upper.data(), metric.upper(), static_cast<int64_t>(upper.size() * sizeof(float)));
    for (size_t i = 0; i < upper.size(); ++i) ASSERT_NEAR(upper[i], expected->upper[i], 1e-5f) << i;
  }
}

TEST_F(CudaSolverTest, GroupsAndBits) {
  Problem problem(70, 200, 11);
  problem.Kill(3);
  problem.Kill(140);
  for (const bool symmetric : {false, true}) {
    for (const auto& [bits, group] : {std::pair{4, 128}, {3, 64}, {2, 32}, {8, 40}, {5, -1}})
      ExpectSame(problem, Options(bits, group, symmetric));
  }
}

TEST_F(CudaSolverTest, MoreRowsThanABlock) { ExpectSame(Problem(200, 96, 12), Options(4, 64, true)); }

TEST_F(CudaSolverTest, WideGroups) {
  const Problem problem(40, 320, 13);
  ExpectSame(problem, Options(4, -1, false));   // more than the clip search solves
  ExpectSame(problem, Options(4, 256, false));  // as many
  ExpectSame(problem, Options(3, 160, true));
}

TEST_F(CudaSolverTest, Clips) {
  const Problem problem(50, 150, 14);
  for (const Clip clip : {Clip::kNone, Clip::kMse, Clip::kHessian}) {
    for (const bool symmetric : {false, true}) {
      SolverOptions options = Options(3, 64, symmetric);
      options.clip = clip;
      ExpectSame(problem, options);
      options.symmetric_grid = SymmetricGrid::kPlain;
      options.group_size = -1;
      ExpectSame(problem, options);
    }
  }
}

TEST_F(CudaSolverTest, Orders) {
  Problem problem(50, 150, 15);
  problem.Kill(0);
  for (const Order order : {Order::kNatural, Order::kActivation, Order::kGroup, Order::kPivot}) {
    SolverOptions options = Options(3, 32, false);
    options.order = order;
    ExpectSame(problem, options);
  }
}

TEST_F(CudaSolverTest, BlocksOfAnySize) {
  const Problem problem(40, 180, 16);
  for (const int64_t block : {1, 17, 150, 1000}) {
    for (const int64_t group : {-1, 48}) {
      SolverOptions options = Options(3, group, false);
      options.block_size = block;
      ExpectSame(problem, options);
    }
  }
}

TEST_F(CudaSolverTest, RefitsAndSweeps) {
  Problem problem(50, 300, 17);
  problem.Kill(9);
  for (const auto& [refits, sweeps] : {std::pair{0, 2}, {1, 1}, {3, 0}}) {
    for (const int64_t group : {-1, 32, 200}) {
      SolverOptions options = Options(3, group, group == 32);
      options.refits = refits;
      options.sweeps = sweeps;
      ExpectSame(problem, options);
    }
  }
}

TEST_F(CudaSolverTest, RefitsMoveZeros) {
  Problem problem(50, 96, 27);
  for (float& w : problem.weight) w = w * w * w;
  SolverOptions options = Options(3, 2, false);  // errors of so few columns do not cancel
  options.refits = 0;
  const std::vector<float> before = Solve(problem, options).result.zeros;
  options.refits = 3;
  EXPECT_NE(Solve(problem, options).result.zeros, before);
  ExpectSame(problem, options);
}

TEST_F(CudaSolverTest, ScaleTypesAndZeros) {
  Problem problem(40, 96, 18);
  for (size_t i = 0; i < 32; ++i) problem.weight[i] = std::abs(problem.weight[i]);  // no negative weights
  for (size_t i = 96; i < 96 + 32; ++i) problem.weight[i] = 0;
  for (const DType type : {DType::kF16, DType::kBF16, DType::kF32}) {
    SolverOptions options = Options(4, 32, false);
    options.scale_type = type;
    options.minimum_zero = 1;
    ExpectSame(problem, options);
  }
}

TEST_F(CudaSolverTest, SaturatedScales) {
  Problem problem(40, 64, 19);
  for (size_t i = 0; i < problem.weight.size(); ++i) problem.weight[i] *= i / 64 == 5 ? 1e7f : 1.0f;
  SolverOptions options = Options(4, 32, true);
  options.refits = 0;
  const MatrixSolution found = Solve(problem, options);
  EXPECT_GT(found.result.saturated_scales, 0);
  ExpectSame(gptq::SolveMatrix(problem.weights(), problem.hessians(), Method::kGptq, options, "test", pool_),
             found);
}

TEST_F(CudaSolverTest, DampingIsRaised) {
  Problem problem(40, 64, 20);
  const auto at = [&](int64_t i, int64_t j) -> float& { return problem.hessian[i * 64 + j]; };
  at(2, 5) = at(5, 2) = 1.5f * std::sqrt(at(2, 2) * at(5, 5));  // no sum of x xT is so
  ExpectSame(problem, Options(4, 32, false));
  at(2, 5) = at(5, 2) = 100 * std::sqrt(at(2, 2) * at(5, 5));
  const MatrixSolution found = Solve(problem, Options(4, 32, false));
  EXPECT_EQ(found.warnings.size(), 1u);
  EXPECT_THAT(found.warnings.at(0), testing::HasSubstr("diagonal entries were raised"));
}

TEST_F(CudaSolverTest, SingularWithoutDamping) {
  const Problem problem(40, 96, 21, 30);  // fewer tokens than columns
  SolverOptions options = Options(4, 32, false);
  options.damping = 0;
  const MatrixSolution found = Solve(problem, options);
  EXPECT_FALSE(found.fell_back);
  EXPECT_TRUE(std::isfinite(found.loss));
  EXPECT_LT(found.relative_error, 0.2);
}

TEST_F(CudaSolverTest, OverflowFallsBack) {
  Problem problem(40, 64, 22);
  for (float& w : problem.weight) w *= 1e37f;
  SolverOptions options = Options(4, 32, false);
  const MatrixSolution expected =
      gptq::SolveMatrix(problem.weights(), problem.hessians(), Method::kGptq, options, "test", pool_);
  const MatrixSolution found = Solve(problem, options);
  EXPECT_EQ(found.fell_back, expected.fell_back);
  EXPECT_EQ(found.warnings, expected.warnings);
}

TEST_F(CudaSolverTest, RoundsToNearest) {
  Problem problem(40, 96, 23);
  problem.Kill(4);
  const SolverOptions options = Options(4, 32, false);
  ExpectSame(gptq::SolveMatrix(problem.weights(), problem.hessians(), Method::kRoundToNearest, options,
                               "test", pool_),
             Solve(problem, options, Method::kRoundToNearest));
}

TEST_F(CudaSolverTest, Target) {
  const Problem problem(40, 96, 24), other(40, 96, 25);
  std::vector<float> shifted = problem.weight;
  for (size_t i = 0; i < shifted.size(); ++i) shifted[i] += 0.1f * other.weight[i];
  const ConstMatrixView target = ConstMatrix(shifted.data(), 40, 96);
  const SolverOptions options = Options(4, 32, false);
  const auto factor = FactorForOptions(problem.hessians(), options, "test", pool_);
  cuda::Metric metric = MakeMetric(problem.hessians(), options);
  ExpectSame(gptq::SolveMatrix(problem.weights(), problem.hessians(), factor, Method::kGptq, options, "test",
                               pool_, &target),
             cuda::SolveMatrix(problem.weights(), metric, Method::kGptq, options, "test", pool_, &target));
  // A second one of the same input, with rows apart; a target that is not finite is not used.
  const ConstMatrixView narrow{problem.weight.data(), 20, 96, 192};
  shifted[0] = INFINITY;
  ExpectSame(gptq::SolveMatrix(narrow, problem.hessians(), factor, Method::kGptq, options, "test", pool_),
             cuda::SolveMatrix(narrow, metric, Method::kGptq, options, "test", pool_, &target));
}

TEST_F(CudaSolverTest, WrongInputs) {
  Problem problem(4, 32, 26);
  const SolverOptions options = Options(4, 32, false);
  cuda::Metric metric = MakeMetric(problem.hessians(), options);
  EXPECT_ERROR(cuda::SolveMatrix(ConstMatrix(problem.weight.data(), 8, 16), metric, Method::kGptq,
                                 Options(4, 16, false), "linear", pool_),
               "16 columns");
  problem.weight[5] = NAN;
  EXPECT_ERROR(cuda::SolveMatrix(problem.weights(), metric, Method::kGptq, options, "linear", pool_),
               "NaN or infinite");
  problem.hessian[0] = -1;
  EXPECT_ERROR(MakeMetric(problem.hessians(), options), "negative at 0");
}

TEST_F(CudaSolverTest, KnowsWhatItSupports) {
  SolverOptions options;
  EXPECT_TRUE(cuda::Supports(options));
  options.ternary = true;
  EXPECT_FALSE(cuda::Supports(options));
  options = {};
  options.static_groups = true;
  EXPECT_FALSE(cuda::Supports(options));
  EXPECT_FALSE(cuda::Supports(ReferenceRecipe()));
  options = {};
  options.gguf_type = DType::kF16;
  EXPECT_FALSE(cuda::Supports(options));
}

}  // namespace solver_test
}  // namespace gptq
