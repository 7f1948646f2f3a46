#include "quant/tile_kernels.h"

#include <cmath>
#include <random>

#include "compute/cpu/vector_kernels.h"
#include "tests/test_util.h"

namespace gptq {
namespace tile_kernels_test {

bool Supported(const TileKernels& kernels) {
  for (const VectorKernels* table : AllVectorKernels()) {
    if (table->isa == kernels.isa) return table->supported();
  }
  return false;
}

// Random columns of a tile, a triangle of U, an H and the grids of two groups.
struct Problem {
  explicit Problem(int64_t columns, bool ternary_grids = false)
      : count(columns), groups(static_cast<size_t>(columns)), ternary(ternary_grids) {
    std::mt19937 generator(static_cast<uint32_t>(columns));
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& v, int64_t size) {
      v.resize(static_cast<size_t>(size));
      for (float& x : v) x = normal(generator);
    };
    fill(values, count * kTileRows);
    fill(gradients, count * kTileRows);
    fill(triangle, count * count);
    fill(scales, 2 * kTileRows);
    fill(zeros, 2 * kTileRows);
    hessian = triangle;
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t i = 0; i < j; ++i) hessian[i * count + j] = hessian[j * count + i];
      hessian[j * count + j] = 3.0f + std::abs(hessian[j * count + j]);
      triangle[j * count + j] = 1.0f + std::abs(triangle[j * count + j]);
      groups[j] = static_cast<int32_t>(j % 2);
    }
    for (float& scale : scales) scale = ternary ? 0.7f : std::copysign(0.1f + std::abs(scale) / 10, scale);
    for (float& zero : zeros) zero = ternary ? -0.7f : std::round(4 + zero);
  }
  RowGrids grids() const {
    return {scales.data(), zeros.data(), groups.data(), 7, ternary ? GridKind::kTernary : GridKind::kUniform};
  }
  // As QuantizeColumn does it, in float32: a code must not hang on the last bit.
  float Round(int64_t column, int64_t row, double weight, int* code) const {
    SolverOptions options;
    options.bits = 3;
    options.ternary = ternary;
    const auto w = static_cast<float>(weight);
    const int64_t grid = groups[column] * kTileRows + row;
    uint8_t stored;
    float value;
    QuantizeColumn(options, 1, &w, &scales[grid], &zeros[grid], &stored, &value);
    *code = stored;
    return value;
  }

  int64_t count;
  std::vector<float> values, gradients, triangle, hessian, scales, zeros;
  std::vector<int32_t> groups;
  bool ternary;
};

struct Solved {
  explicit Solved(const Problem& problem)
      : values(problem.values), codes(values.size()), errors(values.size()), loss(kTileRows) {}
  std::vector<float> values;
  std::vector<uint8_t> codes;
  std::vector<float> errors, loss;
};

Solved PlainSolve(const Problem& problem) {
  Solved out(problem);
  for (int64_t r = 0; r < kTileRows; ++r) {
    for (int64_t j = 0; j < problem.count; ++j) {
      double w = double{problem.values[j * kTileRows + r]};
      for (int64_t i = 0; i < j; ++i)
        w -= double{problem.triangle[j * problem.count + i]} * double{out.errors[i * kTileRows + r]};
      int code;
      const double q = double{problem.Round(j, r, w, &code)};
      const double error = (w - q) / double{problem.triangle[j * problem.count + j]};
      out.values[j * kTileRows + r] = static_cast<float>(q);
      out.codes[j * kTileRows + r] = static_cast<uint8_t>(code);
      out.errors[j * kTileRows + r] = static_cast<float>(error);
      out.loss[r] += static_cast<float>(error * error);
    }
  }
  return out;
}

void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected, float tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], tolerance * (1 + std::abs(expected[i]))) << i;
  }
}

TEST(TileKernels, SolveIsThePlainLoop) {
  for (const TileKernels* kernels : AllTileKernels()) {
    if (!Supported(*kernels)) continue;
    for (const bool ternary : {false, true}) {
      const Problem problem(9, ternary);
      const Solved expected = PlainSolve(problem);
      Solved actual(problem);
      kernels->solve(problem.count, problem.triangle.data(), problem.grids(), actual.values.data(),
                     actual.codes.data(), actual.errors.data(), actual.loss.data());
      EXPECT_EQ(actual.codes, expected.codes) << kernels->isa;
      ExpectNear(actual.values, expected.values, 1e-6f);
      ExpectNear(actual.errors, expected.errors, 1e-3f);
      ExpectNear(actual.loss, expected.loss, 1e-3f);
    }
  }
}

TEST(TileKernels, LinesTakeAnyMinimum) {
  const Problem problem(7);
  std::vector<float> minima(problem.zeros);
  for (float& minimum : minima) minimum = minimum * 0.13f - 0.4f;
  for (const TileKernels* kernels : AllTileKernels()) {
    if (!Supported(*kernels)) continue;
    RowGrids grids = problem.grids();
    grids.zeros = minima.data();
    grids.kind = GridKind::kLine;
    grids.middle = 2;
    Solved actual(problem);
    kernels->solve(problem.count, problem.triangle.data(), grids, actual.values.data(), actual.codes.data(),
                   actual.errors.data(), actual.loss.data());
    for (int64_t r = 0; r < kTileRows; ++r) {
      for (int64_t j = 0; j < problem.count; ++j) {
        double w = double{problem.values[j * kTileRows + r]};
        for (int64_t i = 0; i < j; ++i)
          w -= double{problem.triangle[j * problem.count + i]} * double{actual.errors[i * kTileRows + r]};
        const int64_t grid = problem.groups[j] * kTileRows + r;
        const double scale = double{problem.scales[grid]}, minimum = double{minima[grid]};
        const double code = std::clamp(std::nearbyint((w - minimum) / scale), -2.0, 5.0) + 2;
        ASSERT_NEAR(actual.codes[j * kTileRows + r], code, 1e-9) << kernels->isa;
        ASSERT_NEAR(actual.values[j * kTileRows + r], scale * (code - 2) + minimum, 1e-5);
      }
    }
  }
}

TEST(TileKernels, TrialsGiveTheLossOfSolving) {
  for (const TileKernels* kernels : AllTileKernels()) {
    if (!Supported(*kernels)) continue;
    const Problem problem(9);
    std::vector<float> errors(problem.values.size()), loss(kTileRows, -1.0f);
    kernels->try_grids(problem.count, problem.triangle.data(), problem.grids(), problem.values.data(),
                       errors.data(), loss.data());
    ExpectNear(loss, PlainSolve(problem).loss, 1e-3f);

    Problem apart(9);
    std::vector<float> pivots;
    for (int64_t j = 0; j < apart.count; ++j) {
      pivots.push_back(apart.triangle[j * apart.count + j]);
      for (int64_t i = 0; i < j; ++i) apart.triangle[j * apart.count + i] = 0;
    }
    kernels->try_grids_apart(apart.count, pivots.data(), apart.grids(), apart.values.data(), loss.data());
    ExpectNear(loss, PlainSolve(apart).loss, 1e-4f);
  }
}

TEST(TileKernels, DescentTakesEachColumnInTurn) {
  for (const TileKernels* kernels : AllTileKernels()) {
    if (!Supported(*kernels)) continue;
    const Problem problem(9);
    Solved actual(problem);
    std::vector<float> changes(problem.values.size());
    kernels->descend(problem.count, problem.hessian.data(), problem.grids(), problem.gradients.data(),
                     actual.values.data(), actual.codes.data(), changes.data());
    for (int64_t r = 0; r < kTileRows; ++r) {
      std::vector<double> gradient;
      for (int64_t j = 0; j < problem.count; ++j) gradient.push_back(problem.gradients[j * kTileRows + r]);
      for (int64_t j = 0; j < problem.count; ++j) {
        const double old = double{problem.values[j * kTileRows + r]};
        int code;
        const double value = double{
            problem.Round(j, r, old + gradient[j] / double{problem.hessian[j * problem.count + j]}, &code)};
        ASSERT_EQ(actual.codes[j * kTileRows + r], code) << kernels->isa << " " << j << " " << r;
        ASSERT_NEAR(actual.values[j * kTileRows + r], value, 1e-6);
        ASSERT_NEAR(changes[j * kTileRows + r], value - old, 1e-5);
        for (int64_t k = 0; k < problem.count; ++k)
          gradient[k] -= (value - old) * double{problem.hessian[j * problem.count + k]};
      }
    }
  }
}

TEST(TileKernels, QuadraticForm) {
  for (const TileKernels* kernels : AllTileKernels()) {
    if (!Supported(*kernels)) continue;
    const Problem problem(13);
    std::vector<float> out(kTileRows), expected(kTileRows);
    kernels->quadratic(problem.count, problem.hessian.data(), problem.values.data(), out.data());
    for (int64_t r = 0; r < kTileRows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < problem.count; ++i) {
        for (int64_t j = 0; j < problem.count; ++j) {
          sum += double{problem.values[i * kTileRows + r]} * double{problem.values[j * kTileRows + r]} *
                 double{problem.hessian[i * problem.count + j]};
        }
      }
      expected[r] = static_cast<float>(sum);
    }
    ExpectNear(out, expected, 1e-4f);
  }
}

TEST(TileKernels, FollowTheInstructionSetOfTheBackend) {
  EXPECT_EQ(SelectTileKernels().isa, DefaultVectorKernels().isa);
}

}  // namespace tile_kernels_test
}  // namespace gptq
