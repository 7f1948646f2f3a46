// The row-wise operations of the backend against obvious twins. Linear and Attend have files of their own;
// what each kernel computes is tested in vector_kernels_test.cpp.
#include "compute/cpu/cpu_backend.h"

#include "tests/compute/weights.h"

namespace gptq {
namespace cpu_backend_test {

using plain::Random;
using plain::View;

constexpr int64_t kRows = 53, kColumns = 45;  // several blocks of 16 rows, the last one short

std::vector<std::unique_ptr<Backend>> Backends() {
  std::vector<std::unique_ptr<Backend>> backends;
  for (const int threads : {1, 2, 3}) backends.push_back(MakeCpuBackend(threads));
  return backends;
}

std::vector<std::unique_ptr<Backend>> BackendsOfEveryIsa() {
  std::vector<std::unique_ptr<Backend>> backends;
  for (const VectorKernels* kernels : AllVectorKernels()) {
    if (kernels->supported()) backends.push_back(MakeCpuBackend(2, std::string(kernels->isa)));
  }
  return backends;
}

TEST(CpuBackend, DescribesItself) {
  const auto backend = MakeCpuBackend(3, "portable");
  EXPECT_THAT(backend->Describe(),
              testing::AllOf(testing::HasSubstr("cpu"), testing::HasSubstr("portable"),
                             testing::HasSubstr("OpenBLAS"), testing::HasSubstr("3 threads")));
  EXPECT_EQ(backend->pool().threads(), 3);
  EXPECT_ERROR(MakeCpuBackend(1, "sse9"), "sse9");
}

TEST(CpuBackend, EmbedsRowsOfEveryStorage) {
  for (const Storage storage : kStorages) {
    const StoredWeight table(storage, 20, 64, storage == Storage::kHalf, 1);
    const std::vector<int32_t> ids = {0, 19, 7, 7, 3};
    for (const auto& backend : Backends()) {
      std::vector<float> out(ids.size() * 64);
      backend->Embed(table.weight, ids, View(out, 5, 64));
      for (size_t i = 0; i < out.size(); ++i)
        ASSERT_EQ(out[i], table.values[static_cast<size_t>(ids[i / 64]) * 64 + i % 64]);
      backend->Embed(table.weight, {}, MatrixView{nullptr, 0, 64});
    }
  }
}

std::vector<double> Norm(NormKind kind, const std::vector<float>& x, const std::vector<float>& w,
                         const std::vector<float>& b, int64_t rows, int64_t columns, double epsilon) {
  std::vector<double> y(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0, squares = 0;
    for (int64_t c = 0; c < columns; ++c) mean += x[r * columns + c] / static_cast<double>(columns);
    if (kind == NormKind::kRms) mean = 0;
    for (int64_t c = 0; c < columns; ++c) squares += std::pow(x[r * columns + c] - mean, 2);
    const double factor = 1 / std::sqrt(squares / static_cast<double>(columns) + epsilon);
    for (int64_t c = 0; c < columns; ++c) {
      y[r * columns + c] =
          (x[r * columns + c] - mean) * factor * (w.empty() ? 1 : w[c]) + (b.empty() ? 0 : b[c]);
    }
  }
  return y;
}

TEST(CpuBackend, Norm) {
  const std::vector<float> x = Random(kRows * kColumns, 2, 2.0f, 0.5f);
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    for (int variant = 0; variant < 4; ++variant) {
      const std::vector<float> w = variant % 2 != 0 ? Random(kColumns, 3) : std::vector<float>();
      const bool biased = variant / 2 != 0 && kind == NormKind::kLayer;
      const std::vector<float> b = biased ? Random(kColumns, 4) : std::vector<float>();
      const std::vector<double> twin = Norm(kind, x, w, b, kRows, kColumns, 1e-2);
      std::vector<float> first;
      for (const auto& backend : Backends()) {
        std::vector<float> in = x, out(x.size());
        backend->Norm(kind, 1e-2, View(in, kRows, kColumns), w, b, View(out, kRows, kColumns));
        EXPECT_EQ(in, x);
        for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], twin[i], 3e-6) << variant;
        if (first.empty()) first = out;
        EXPECT_EQ(out, first);
        backend->Norm(kind, 1e-2, View(in, kRows, kColumns), w, b, View(in, kRows, kColumns));
        EXPECT_EQ(in, first) << "in place";
      }
    }
  }
}

// Two sequences from position 3 on, heads of 12 of which 6 dimensions turn.
void CheckRotate(bool interleaved, int64_t first_dimension) {
  const int64_t heads = 3, head_dim = 12, pairs = 3, tokens = 25, rows = 2 * tokens, start = 3;
  RotaryTable table;
  table.pairs = pairs;
  table.interleaved = interleaved;
  for (int64_t p = 0; p < start + tokens; ++p) {
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(p) * std::pow(100.0, -static_cast<double>(i) / 3);
      table.cosine.push_back(static_cast<float>(1.5 * std::cos(angle)));  // with an attention factor
      table.sine.push_back(static_cast<float>(1.5 * std::sin(angle)));
    }
  }
  const std::vector<float> x = Random(rows * heads * head_dim, 5);
  std::vector<float> first;
  for (const auto& backend : Backends()) {
    std::vector<float> y = x;
    backend->Rotate(table, start, tokens, head_dim, first_dimension, View(y, rows, heads * head_dim));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t at = (r * heads + h) * head_dim, end = at + first_dimension + 2 * pairs;
        for (int64_t i = 0; i < pairs; ++i) {
          const int64_t a = at + first_dimension + (interleaved ? 2 * i : i),
                        b = a + (interleaved ? 1 : pairs);
          const double c = table.cosine[(start + r % tokens) * pairs + i],
                       s = table.sine[(start + r % tokens) * pairs + i];
          ASSERT_NEAR(y[a], x[a] * c - x[b] * s, 2e-6);
          ASSERT_NEAR(y[b], x[b] * c + x[a] * s, 2e-6);
        }
        for (int64_t i = at; i < at + first_dimension; ++i) ASSERT_EQ(y[i], x[i]) << "passes through";
        for (int64_t i = end; i < at + head_dim; ++i) ASSERT_EQ(y[i], x[i]) << "passes through";
      }
    }
    if (first.empty()) first = y;
    EXPECT_EQ(y, first);
  }
}

TEST(CpuBackend, Rotate) {
  for (const bool interleaved : {false, true}) {
    for (const int64_t first_dimension : {0, 4, 6}) CheckRotate(interleaved, first_dimension);
  }
}

TEST(CpuBackend, NormWithAWeightForEachHead) {
  const std::vector<float> x = Random(6 * 8, 1), weight = Random(3 * 8, 2);
  for (const auto& backend : Backends()) {
    std::vector<float> in = x, together(x.size());
    backend->Norm(NormKind::kRms, 1e-6, View(in, 6, 8), weight, {}, View(together, 6, 8));
    for (int64_t r = 0; r < 6; ++r) {
      std::vector<float> row(x.begin() + r * 8, x.begin() + r * 8 + 8), alone(8);
      backend->Norm(NormKind::kRms, 1e-6, View(row, 1, 8), std::span(weight).subspan(r % 3 * 8, 8), {},
                    View(alone, 1, 8));
      for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(together[r * 8 + i], alone[i]);
    }
  }
}

TEST(CpuBackend, ScaleClampSoftcap) {
  const std::vector<float> x = Random(50 * 33, 3, 4.0f);
  for (const auto& backend : Backends()) {
    std::vector<float> scaled = x, clamped = x, capped = x;
    backend->Scale(View(scaled, 50, 33), -0.25f);
    backend->Clamp(View(clamped, 50, 33), 1.5f);
    backend->Softcap(View(capped, 50, 33), 3.0f);
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(scaled[i], x[i] * -0.25f);
      EXPECT_EQ(clamped[i], std::clamp(x[i], -1.5f, 1.5f));
      EXPECT_NEAR(capped[i], 3 * std::tanh(double{x[i]} / 3), 1e-6);
    }
  }
}

TEST(CpuBackend, CopiesColumnsAndRows) {
  const auto backend = MakeCpuBackend(2);
  std::vector<float> from = Random(20 * 12, 1), to(20 * 10, -1.0f);
  backend->CopyColumns(View(from, 20, 12), {1, 4}, View(to, 20, 10), {0, 5}, 2, 3);
  std::vector<float> expected(20 * 10, -1.0f);
  for (int64_t r = 0; r < 20; ++r) {
    for (int64_t i = 0; i < 2; ++i) {
      for (int64_t c = 0; c < 3; ++c) expected[r * 10 + i * 5 + c] = from[r * 12 + 1 + i * 4 + c];
    }
  }
  EXPECT_EQ(to, expected);

  const std::vector<int32_t> rows = {3, 19, 0};
  std::vector<float> gathered(3 * 12), sums = from;
  backend->GatherRows(View(from, 20, 12), rows, View(gathered, 3, 12));
  backend->AddToRows(View(sums, 20, 12), rows, std::vector<float>{1, 2, -1}, View(gathered, 3, 12));
  for (int64_t r = 0; r < 20; ++r) {
    const float factor = r == 3 ? 2 : r == 19 ? 3 : r == 0 ? 0 : 1;
    for (int64_t c = 0; c < 12; ++c) EXPECT_NEAR(sums[r * 12 + c], factor * from[r * 12 + c], 1e-6);
  }
}

TEST(CpuBackend, ActivateWithAndWithoutFactor) {
  const std::vector<float> x = Random(kRows * kColumns, 6, 2.0f), factor = Random(kRows * kColumns, 7);
  for (const bool gated : {false, true}) {
    std::vector<float> first;
    for (const auto& backend : Backends()) {
      std::vector<float> y = x, up = factor;
      const MatrixView up_view = View(up, kRows, kColumns);
      backend->Activate(ActivationKind::kSilu, View(y, kRows, kColumns), gated ? &up_view : nullptr);
      for (size_t i = 0; i < y.size(); ++i) {
        const double silu = x[i] / (1 + std::exp(-double{x[i]}));
        ASSERT_NEAR(y[i], gated ? silu * factor[i] : silu, 2e-6);
      }
      EXPECT_EQ(up, factor);
      if (first.empty()) first = y;
      EXPECT_EQ(y, first);
    }
  }
}

TEST(CpuBackend, EveryActivationIsTheOneItIsCalled) {
  const auto backend = MakeCpuBackend(1);
  const auto at = [&](ActivationKind kind, float value) {
    backend->Activate(kind, MatrixView{&value, 1, 1}, nullptr);
    return value;
  };
  EXPECT_EQ(at(ActivationKind::kRelu, -2.0f), 0.0f);
  EXPECT_EQ(at(ActivationKind::kRelu, 2.0f), 2.0f);
  EXPECT_NEAR(at(ActivationKind::kSilu, 1.0f), 0.7310585786, 1e-7);
  EXPECT_NEAR(at(ActivationKind::kGelu, 1.0f), 0.8413447461, 1e-7);
  EXPECT_NEAR(at(ActivationKind::kGeluTanh, 1.0f), 0.8411919906, 1e-7);
}

TEST(CpuBackend, Add) {
  const std::vector<float> x = Random(kRows * kColumns, 8), y = Random(kRows * kColumns, 9);
  for (const auto& backend : Backends()) {
    std::vector<float> sum = x, term = y;
    backend->Add(View(sum, kRows, kColumns), View(term, kRows, kColumns));
    for (size_t i = 0; i < sum.size(); ++i) ASSERT_EQ(sum[i], x[i] + y[i]);
    EXPECT_EQ(term, y);
  }
}

TEST(CpuBackend, NegativeLogLikelihood) {
  const int64_t rows = 35, vocabulary = 5003;
  std::vector<float> logits = Random(rows * vocabulary, 10, 3.0f);
  logits[2 * vocabulary + 17] = 60.0f;                                          // certain
  for (int64_t c = 0; c < vocabulary; ++c) logits[3 * vocabulary + c] = -1e4f;  // far below what exp can hold
  for (int64_t c = 0; c < vocabulary; ++c) logits[4 * vocabulary + c] += 1e4f;  // far above
  std::vector<int32_t> targets;
  for (int64_t r = 0; r < rows; ++r) targets.push_back(static_cast<int32_t>(r * 977 % vocabulary));
  targets[2] = 17;
  targets[5] = static_cast<int32_t>(vocabulary - 1);
  std::vector<double> first;
  for (const auto& backend : Backends()) {
    std::vector<double> out(targets.size());
    backend->NegativeLogLikelihood(View(logits, rows, vocabulary), targets, out);
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = logits.data() + r * vocabulary;
      const double maximum = *std::max_element(row, row + vocabulary);
      double sum = 0;
      for (int64_t c = 0; c < vocabulary; ++c) sum += std::exp(row[c] - maximum);
      ASSERT_NEAR(out[r], std::log(sum) + maximum - row[targets[r]], 3e-7) << r;
    }
    if (first.empty()) first = out;
    EXPECT_EQ(out, first);
  }
  EXPECT_NEAR(first[2], 0.0, 1e-12);
  EXPECT_NEAR(first[3], std::log(static_cast<double>(vocabulary)), 3e-7);
}

// Sum of p log(p / q), p and q from log-softmax in float64.
double Divergence(const float* a, const float* b, int64_t n) {
  const auto log_sum = [n](const float* x) {
    const double maximum = *std::max_element(x, x + n);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - maximum);
    return std::log(sum) + maximum;
  };
  const double log_sum_a = log_sum(a), log_sum_b = log_sum(b);
  double divergence = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double log_p = a[i] - log_sum_a;
    divergence += std::exp(log_p) * (log_p - (b[i] - log_sum_b));
  }
  return divergence;
}

TEST(CpuBackend, CompareLogits) {
  const int64_t vocabulary = 5003;
  // How far the rows are from the reference: not at all, by less than rounding shows, ..., another text.
  const std::vector<float> distances = {0.0f, 1e-5f, 1e-4f, 1e-3f, 0.01f, 0.1f, 0.3f, 1.0f, 3.0f, 10.0f};
  const auto rows = static_cast<int64_t>(distances.size());
  std::vector<float> a = Random(rows * vocabulary, 14, 4.0f), b = a;
  const std::vector<float> noise = Random(rows * vocabulary, 15);
  for (size_t i = 0; i < b.size(); ++i) b[i] += distances[i / vocabulary] * noise[i];
  for (int64_t c = 0; c < vocabulary; ++c) b[7 * vocabulary + c] += 100.0f;  // probabilities do not change
  for (int64_t c = 0; c < vocabulary; ++c) a[8 * vocabulary + c] -= 1e3f;
  for (const auto& backend : BackendsOfEveryIsa()) {
    std::vector<LogitDifference> out(distances.size());
    backend->CompareLogits(View(a, rows, vocabulary), View(b, rows, vocabulary), out);
    for (int64_t r = 0; r < rows; ++r) {
      const float *x = a.data() + r * vocabulary, *y = b.data() + r * vocabulary;
      const double expected = Divergence(x, y, vocabulary);
      ASSERT_NEAR(out[r].divergence, expected, 2e-5 * expected + 2e-13) << r;
      EXPECT_EQ(out[r].same_top,
                std::max_element(x, x + vocabulary) - x == std::max_element(y, y + vocabulary) - y);
    }
    EXPECT_EQ(out[0].divergence, 0);
    EXPECT_TRUE(out[0].same_top);
    EXPECT_FALSE(out.back().same_top);
  }
}

TEST(CpuBackend, CompareLogitsOfExtremes) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> certain = {0, 200, 0, 0, 0}, other = {200, 0, 0, 0, 0}, flat = {7, 7, 7, 7, 7};
  std::vector<float> damaged = {1, nan, 1, 1, 1};
  for (const auto& backend : BackendsOfEveryIsa()) {
    const auto compare = [&](std::vector<float>& a, std::vector<float>& b) {
      LogitDifference out;
      backend->CompareLogits(View(a, 1, 5), View(b, 1, 5), std::span(&out, 1));
      return out;
    };
    EXPECT_NEAR(compare(certain, other).divergence, 200, 1e-4);
    EXPECT_FALSE(compare(certain, other).same_top);
    EXPECT_NEAR(compare(certain, flat).divergence, std::log(5.0), 1e-5);
    EXPECT_NEAR(compare(flat, certain).divergence, 160 - std::log(5.0), 1e-4);
    EXPECT_EQ(compare(certain, certain).divergence, 0);
    EXPECT_TRUE(compare(flat, other).same_top) << "the first of equals";
    EXPECT_FALSE(compare(flat, certain).same_top);
    EXPECT_TRUE(std::isnan(compare(flat, damaged).divergence));
    EXPECT_TRUE(std::isnan(compare(damaged, flat).divergence));
  }
}

TEST(CpuBackend, EveryIsaGivesTheSameResultToRoundOff) {
  const std::vector<float> x = Random(20 * 96, 11);
  const StoredWeight stored(Storage::kBFloat16, 40, 96, false, 12);
  std::vector<float> reference;
  for (const VectorKernels* kernels : AllVectorKernels()) {
    if (!kernels->supported()) continue;
    const auto backend = MakeCpuBackend(2, std::string(kernels->isa));
    std::vector<float> h = x, y(3 * 40);
    backend->Norm(NormKind::kRms, 1e-6, View(h, 20, 96), {}, {}, View(h, 20, 96));
    backend->Activate(ActivationKind::kGeluTanh, View(h, 20, 96), nullptr);
    backend->Linear(View(h, 20, 96).Rows(4, 3), stored.weight, {}, View(y, 3, 40));
    if (reference.empty()) reference = y;
    for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], reference[i], 2e-5) << kernels->isa;
  }
}

// Callers' mistakes stop the program before they read foreign memory.
TEST(CpuBackendDeathTest, ChecksShapes) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto backend = MakeCpuBackend(1);
  std::vector<float> x(4 * 8), y(4 * 8), narrow(4 * 6);
  const MatrixView a = View(x, 4, 8), b = View(narrow, 4, 6);
  const StoredWeight weight(Storage::kFloatView, 8, 8, false, 13);
  std::vector<double> losses(4);
  const std::vector<int32_t> wrong_targets = {0, 1, 2, 8}, wrong_ids = {0, 1, -1, 8};
  EXPECT_DEATH(backend->Add(a, b), "");
  EXPECT_DEATH(backend->Activate(ActivationKind::kRelu, a, &b), "");
  EXPECT_DEATH(backend->Linear(b, weight.weight, {}, a), "");
  EXPECT_DEATH(backend->Norm(NormKind::kRms, 1e-5, a, std::span(narrow).first(6), {}, a), "");
  EXPECT_DEATH(backend->Embed(weight.weight, wrong_ids, a), "");
  EXPECT_DEATH(backend->NegativeLogLikelihood(a, wrong_targets, losses), "target");
  std::vector<LogitDifference> differences(4);
  EXPECT_DEATH(backend->CompareLogits(a, b, differences), "columns");
  EXPECT_DEATH(backend->CompareLogits(a, a, std::span(differences).first(3)), "rows");
  const RotaryTable table{
      .pairs = 2, .interleaved = false, .cosine = std::vector<float>(6), .sine = std::vector<float>(6)};
  EXPECT_DEATH(backend->Rotate(table, 0, 4, 8, 0, a), "position");
  EXPECT_DEATH(backend->Rotate(table, 0, 3, 8, 5, a), "first_dimension");
  EXPECT_DEATH(backend->CopyColumns(a, {0, 3}, a, {0, 3}, 3, 3), "inside");
  EXPECT_DEATH(backend->GatherRows(a, std::vector<int32_t>{0, 1, 2, 4}, a), "row");
  AttentionShape shape{
      .query_tokens = 4, .key_tokens = 3, .key_stride = 3, .heads = 1, .kv_heads = 1, .head_dim = 8};
  EXPECT_DEATH(backend->Attend(shape, a, x.data(), x.data(), View(y, 4, 8)), "key_tokens");
}

TEST(Matrix, KeepsItsMemoryWhereThatSuffices) {
  Matrix matrix;
  matrix.Resize(0, 0);
  EXPECT_EQ(matrix.data(), nullptr);
  matrix.Resize(6, 8);
  const float* memory = matrix.data();
  for (const auto& [rows, columns] : {std::pair{6, 8}, {8, 6}, {3, 2}, {0, 0}, {1, 48}}) {
    matrix.Resize(rows, columns);
    EXPECT_EQ(matrix.data(), memory);
    EXPECT_EQ(matrix.rows(), rows);
    EXPECT_EQ(matrix.columns(), columns);
  }
  matrix.Resize(7, 7);
  matrix.data()[48] = 1;
  Matrix other = std::move(matrix);
  matrix.Resize(1, 1);  // moved from
  EXPECT_NE(matrix.data(), nullptr);
  EXPECT_NE(matrix.data(), other.data());
}

TEST(CpuBackend, ScratchMemoryChangesHands) {
  const auto backend = MakeCpuBackend(1);
  const MatrixView view = backend->Scratch(1, 3, 4);
  view.data[11] = 5;
  Matrix mine(2, 2);
  const float* before = mine.data();
  backend->SwapScratch(1, mine);
  EXPECT_EQ(mine.data(), view.data);
  EXPECT_EQ(mine.rows(), 3);
  EXPECT_EQ(mine.data()[11], 5);
  EXPECT_EQ(backend->Scratch(1, 1, 4).data, before);
}

}  // namespace cpu_backend_test
}  // namespace gptq
