// The CUDA backend's other operations against the processor's, on matrices of the program and of the device.
#include "tests/cuda/cuda_fixtures.h"

namespace gptq {
namespace backend_test {

using plain::Random;
using plain::View;

constexpr float kTolerance = 2e-5f;

class CudaBackendTest : public CudaTest {
 protected:
  Backend& host() { return *host_; }

  // operation(backend, x) on both; x [rows, columns] is changed in place.
  template <typename Operation>
  void ExpectSame(int64_t rows, int64_t columns, const Operation& operation, float tolerance = kTolerance) {
    const std::vector<float> x = Random(rows * columns, 1);
    std::vector<float> expected = x, staged = x;
    operation(host(), View(expected, rows, columns));
    operation(backend(), View(staged, rows, columns));
    Matrix on_device(rows, columns, backend().memory());
    std::vector<float> copy = x;
    backend().Copy(View(copy, rows, columns), on_device.view());
    operation(backend(), on_device.view());
    backend().Copy(on_device.view(), View(copy, rows, columns));
    for (size_t i = 0; i < x.size(); ++i) {
      const float bound = tolerance * (1 + std::abs(expected[i]));
      ASSERT_NEAR(staged[i], expected[i], bound) << i;
      ASSERT_NEAR(copy[i], expected[i], bound) << i;
    }
  }

  std::unique_ptr<Backend> host_ = MakeCpuBackend(1);
};

TEST_F(CudaBackendTest, Norms) {
  for (const int64_t columns : {3, 64, 100, 700, 4100}) {
    const std::vector<float> weight = Random(2 * columns, 2), bias = Random(columns, 3);
    for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
      ExpectSame(5, columns, [&](Backend& b, MatrixView x) { b.Norm(kind, 1e-5, x, weight, {}, x); });
    }
    ExpectSame(5, columns, [&](Backend& b, MatrixView x) {
      b.Norm(NormKind::kLayer, 1e-5, x, std::span(weight).first(static_cast<size_t>(columns)), bias, x);
    });
  }
}

TEST_F(CudaBackendTest, Rotation) {
  for (const bool interleaved : {false, true}) {
    RotaryTable table{6, interleaved, Random(20 * 6, 4), Random(20 * 6, 5)};
    ExpectSame(12, 3 * 18, [&](Backend& b, MatrixView x) { b.Rotate(table, 7, 6, 18, 4, x); });
  }
}

TEST_F(CudaBackendTest, Elementwise) {
  for (const ActivationKind kind :
       {ActivationKind::kSilu, ActivationKind::kRelu, ActivationKind::kReluSquared, ActivationKind::kGelu,
        ActivationKind::kGeluTanh}) {
    ExpectSame(3, 301, [&](Backend& b, MatrixView x) { b.Activate(kind, x, nullptr); });
    std::vector<float> factor = Random(3 * 301, 9);
    const MatrixView view = View(factor, 3, 301);
    ExpectSame(3, 301, [&](Backend& b, MatrixView x) { b.Activate(kind, x, &view); });
  }
  std::vector<float> y = Random(3 * 301, 9);
  ExpectSame(3, 301, [&](Backend& b, MatrixView x) { b.Add(x, View(y, 3, 301)); });
  ExpectSame(3, 301, [&](Backend& b, MatrixView x) { b.Scale(x, 0.3f); });
  ExpectSame(3, 301, [&](Backend& b, MatrixView x) { b.Clamp(x, 0.4f); });
  ExpectSame(3, 301, [&](Backend& b, MatrixView x) { b.Softcap(x, 0.7f); });
}

TEST_F(CudaBackendTest, RowsAndColumns) {
  std::vector<float> from = Random(4 * 30, 9);
  ExpectSame(4, 25, [&](Backend& b, MatrixView x) {
    b.CopyColumns(View(from, 4, 30), {2, 10}, x, {1, 8}, 3, 5);
  });
  const std::vector<int32_t> rows{3, 0, 3, 2, 1};
  ExpectSame(5, 30, [&](Backend& b, MatrixView x) { b.GatherRows(View(from, 4, 30), rows, x); });
  const std::vector<int32_t> places{6, 1, 4, 0};
  const std::vector<float> factors{0.5f, -1, 2, 3};
  ExpectSame(7, 30, [&](Backend& b, MatrixView x) { b.AddToRows(x, places, factors, View(from, 4, 30)); });
  ExpectSame(7, 30, [&](Backend& b, MatrixView x) { b.Zero(x.Rows(2, 3)); });
}

TEST_F(CudaBackendTest, Losses) {
  constexpr int64_t kRows = 5, kColumns = 1003;
  std::vector<float> a = Random(kRows * kColumns, 1, 3), b = a;
  const std::vector<float> noise = Random(kRows * kColumns, 2, 0.1f);
  for (size_t i = 0; i < b.size(); ++i) b[i] += i < 4 * kColumns ? noise[i] : 0;
  const std::vector<int32_t> targets{0, 1002, 7, 500, 9};
  std::vector<double> expected(kRows), found(kRows, NAN);
  host().NegativeLogLikelihood(View(a, kRows, kColumns), targets, expected);
  backend().NegativeLogLikelihood(View(a, kRows, kColumns), targets, found);
  std::vector<LogitDifference> expected_differences(kRows), differences(kRows);
  host().CompareLogits(View(a, kRows, kColumns), View(b, kRows, kColumns), expected_differences);
  backend().CompareLogits(View(a, kRows, kColumns), View(b, kRows, kColumns), differences);
  for (size_t r = 0; r < kRows; ++r) {
    EXPECT_NEAR(found[r], expected[r], 1e-6) << r;
    EXPECT_NEAR(differences[r].divergence, expected_differences[r].divergence, 1e-6) << r;
    EXPECT_EQ(differences[r].same_top, expected_differences[r].same_top) << r;
  }
  EXPECT_EQ(differences.back().divergence, 0);
}

TEST_F(CudaBackendTest, Gram) {
  constexpr int64_t kTokens = 37, kColumns = 1100;  // more than a panel
  std::vector<float> x = Random(kTokens * kColumns, 1);
  for (float& value : x) value = std::round(value * 64) / 64;  // exact as float16
  const std::vector<float> factors(kTokens, 0.5f);
  Matrix sum(kColumns, kColumns, backend().memory()), readable;
  backend().Zero(sum.view());
  backend().AddGram(View(x, kTokens, kColumns), {}, sum.view());
  backend().AddGram(View(x, kTokens, kColumns), factors, sum.view());
  const float* found = backend().Readable(sum.view(), readable).data;
  for (int64_t i = 0; i < kColumns; i += 7) {
    for (int64_t j = i; j < kColumns; j += 5) {
      double expected = 0;
      for (int64_t t = 0; t < kTokens; ++t)
        expected += 1.25 * double{x[t * kColumns + i]} * double{x[t * kColumns + j]};
      ASSERT_NEAR(found[i * kColumns + j], expected, 1e-4) << i << ", " << j;
    }
  }
}

AttentionShape Shape(int64_t sequences, int64_t queries, int64_t keys, int64_t heads, int64_t kv_heads,
                     int64_t dim) {
  AttentionShape shape;
  shape.sequences = sequences;
  shape.query_tokens = queries;
  shape.key_tokens = shape.key_stride = keys;
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.head_dim = dim;
  shape.scale = 1.0f / std::sqrt(static_cast<float>(dim));
  return shape;
}

void CheckAttention(Backend& backend, const AttentionShape& shape, int bits = 32) {
  if (bits == 32) CheckAttention(backend, shape, 16);
  backend.SetActivationBits(bits);
  const int64_t rows = shape.sequences * shape.query_tokens, tokens = shape.sequences * shape.key_stride;
  std::vector<float> query = Random(rows * shape.heads * shape.head_dim, 1);
  std::vector<float> keys = Random(tokens * shape.kv_heads * shape.head_dim, 2);
  std::vector<float> values = Random(tokens * shape.kv_heads * shape.value_width(), 3);
  std::vector<float> out(static_cast<size_t>(rows * shape.heads * shape.value_width()), NAN);
  backend.Attend(shape, View(query, rows, shape.heads * shape.head_dim), keys.data(), values.data(),
                 View(out, rows, shape.heads * shape.value_width()));
  const std::vector<double> twin = plain::Attention(shape, query, keys, values);
  double worst = 0;
  for (size_t i = 0; i < out.size(); ++i)
    worst = std::max(worst, std::isnan(out[i]) ? 1e30 : std::abs(out[i] - twin[i]));
  EXPECT_LT(worst, bits == 32 || shape.query_tokens <= cuda::kFewQueries ? 2e-5 : 4e-3)
      << shape.sequences << " sequences, " << shape.query_tokens << " of " << shape.key_tokens << " tokens, "
      << shape.heads << "/" << shape.kv_heads << " heads of " << shape.head_dim;
}

TEST_F(CudaBackendTest, AttentionOfFewAndManyQueries) {
  for (const int64_t queries : {1, 3, 4, 5, 40}) {
    CheckAttention(backend(), Shape(2, queries, queries + 33, 4, 2, 16));
    CheckAttention(backend(), Shape(1, queries, queries, 6, 6, 20));
    CheckAttention(backend(), Shape(1, queries, queries + 100, 4, 1, 80));
  }
}

TEST_F(CudaBackendTest, AttentionWithMasksAndBiases) {
  for (const int64_t queries : {2, 24}) {
    AttentionShape window = Shape(2, queries, 40, 4, 2, 16);
    window.window = 7;
    CheckAttention(backend(), window);
    AttentionShape both_ways = Shape(1, queries, queries, 4, 2, 16);
    both_ways.causal = false;
    CheckAttention(backend(), both_ways);
    AttentionShape capped = Shape(1, queries, 40, 4, 4, 16);
    capped.softcap = 2;
    const std::vector<float> bias = Random(4 * 50, 8);
    capped.key_bias = bias.data();
    capped.key_bias_stride = 50;
    CheckAttention(backend(), capped);
    AttentionShape wide = Shape(1, queries, 30, 2, 1, 24);
    wide.value_dim = 12;
    CheckAttention(backend(), wide);
  }
}

TEST_F(CudaBackendTest, MemoryHasALimit) {
  cuda::CudaBackend small(1, int64_t{1} << 20);
  EXPECT_ERROR(Matrix(1024, 1024, small.memory()), "memory does not suffice");
}

}  // namespace backend_test
}  // namespace gptq
