#include "compute/cpu/vector_kernels.h"

#include <cmath>
#include <limits>
#include <set>

#include "base/convert.h"
#include "compute/cpu/packed_kernels.h"
#include "tests/compute/plain.h"

namespace gptq {
namespace vector_kernels_test {

using plain::GuardedFloats;
using plain::Random;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Every remainder of every vector width, unrolled loops, and chunks of 1024.
std::vector<int64_t> Lengths(int64_t first) {
  std::vector<int64_t> lengths;
  for (int64_t n = first; n <= 100; ++n) lengths.push_back(n);
  for (const int64_t n : {1000, 1023, 1024, 1025, 1031, 2047, 2048, 2049, 4103, 20011}) lengths.push_back(n);
  return lengths;
}

std::vector<const VectorKernels*> Supported() {
  std::vector<const VectorKernels*> supported;
  for (const VectorKernels* kernels : AllVectorKernels()) {
    if (kernels->supported()) supported.push_back(kernels);
  }
  return supported;
}

class VectorKernelsTest : public testing::TestWithParam<const VectorKernels*> {
 protected:
  const VectorKernels& kernels = *GetParam();
};

INSTANTIATE_TEST_SUITE_P(EveryIsa, VectorKernelsTest, testing::ValuesIn(Supported()),
                         [](const auto& isa) { return std::string(isa.param->isa); });

TEST_P(VectorKernelsTest, Dot) {
  for (const int64_t n : Lengths(0)) {
    const std::vector<float> a = Random(n, 1), b = Random(n, 2);
    double expected = 0, magnitude = 0;
    for (int64_t i = 0; i < n; ++i)
      expected += double{a[i]} * double{b[i]}, magnitude += std::abs(a[i] * b[i]);
    GuardedFloats guarded_a(a), guarded_b(b);
    ASSERT_NEAR(kernels.dot(guarded_a.data(), guarded_b.data(), n), expected, 1e-6 * magnitude) << n;
  }
}

// Elements of less than four bytes at the end of readable memory.
template <typename T>
class Guarded {
 public:
  explicit Guarded(const std::vector<T>& values)
      : count_(static_cast<int64_t>(values.size())),
        bytes_(count_ * static_cast<int64_t>(sizeof(T))),
        floats_((bytes_ + 3) / 4) {
    std::copy(values.begin(), values.end(), data());
  }
  T* data() { return reinterpret_cast<T*>(floats_.data() + (bytes_ + 3) / 4) - count_; }

 private:
  int64_t count_, bytes_;
  GuardedFloats floats_;
};

// Rounds to float16 or bfloat16; in `values`, too.
std::vector<uint16_t> Halves(std::vector<float>& values, DType dtype) {
  std::vector<uint16_t> halves(values.size());
  auto* const bytes = reinterpret_cast<std::byte*>(halves.data());
  FromFloat(values.data(), static_cast<int64_t>(values.size()), dtype, bytes);
  ToFloat(dtype, bytes, static_cast<int64_t>(values.size()), values.data());
  return halves;
}

TEST_P(VectorKernelsTest, DotWithSixteenBits) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    for (const int64_t n : Lengths(0)) {
      std::vector<float> a = Random(n, 1), b = Random(n, 2);
      Guarded<uint16_t> stored(Halves(a, dtype));
      double expected = 0, magnitude = 0;
      for (int64_t i = 0; i < n; ++i)
        expected += double{a[i]} * double{b[i]}, magnitude += std::abs(a[i] * b[i]);
      GuardedFloats guarded_b(b);
      const auto dot = dtype == DType::kF16 ? kernels.dot_half : kernels.dot_bfloat16;
      ASSERT_NEAR(dot(stored.data(), guarded_b.data(), n), expected, 1e-6 * magnitude) << n;
    }
  }
}

// The same numbers as float32 and as they are stored, for one query and for several: what is computed is the
// same to the last bit.
template <typename T>
void CheckRows(const VectorKernels& kernels, const RowKernels& stored_kernels, int64_t n, int64_t count,
               const std::vector<T>& stored, const std::vector<float>& numbers) {
  constexpr int64_t kQueries = 8;  // 4 + 3 + 1 of them at most
  const int64_t stride = n + 3, score_stride = count + 1, out_stride = n + 2;
  const std::vector<float> queries = Random(kQueries * n, 6), weights = Random(kQueries * score_stride, 7);
  Guarded<T> guarded(stored);
  GuardedFloats floats(numbers), score(count), sum(n);
  const StoredRows float_rows{floats.data(), stride, count, n}, rows{guarded.data(), stride, count, n};
  for (int64_t together = 1; together <= kQueries; ++together) {
    GuardedFloats scores((together - 1) * score_stride + count), sums((together - 1) * out_stride + n);
    stored_kernels.score(queries.data(), together, rows, 0.5f, scores.data(), score_stride);
    stored_kernels.sum(weights.data(), score_stride, together, rows, sums.data(), out_stride);
    for (int64_t q = 0; q < together; ++q) {
      kernels.float_rows.score(queries.data() + q * n, 1, float_rows, 0.5f, score.data(), 0);
      kernels.float_rows.sum(weights.data() + q * score_stride, 0, 1, float_rows, sum.data(), 0);
      for (int64_t k = 0; k < count; ++k) ASSERT_EQ(scores[q * score_stride + k], score[k]);
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(sums[q * out_stride + i], sum[i]);
    }
  }
  for (int64_t k = 0; k < count; ++k) {  // of the last query
    double expected = 0, magnitude = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double term = 0.5 * queries[(kQueries - 1) * n + i] * numbers[k * stride + i];
      expected += term, magnitude += std::abs(term);
    }
    ASSERT_NEAR(score[k], expected, 1e-6 * magnitude);
  }
  for (int64_t i = 0; i < n; ++i) {
    double expected = 0, magnitude = 0;
    for (int64_t k = 0; k < count; ++k) {
      const double term = double{weights[(kQueries - 1) * score_stride + k]} * numbers[k * stride + i];
      expected += term, magnitude += std::abs(term);
    }
    ASSERT_NEAR(sum[i], expected, 1e-6 * magnitude);
  }
}

TEST_P(VectorKernelsTest, RowsOfKeysAndValues) {
  for (const int64_t n : {1, 3, 8, 15, 16, 20, 64, 80, 128, 200}) {
    for (const int64_t count : {1, 2, 4, 5, 33}) {
      const int64_t elements = (count - 1) * (n + 3) + n;
      std::vector<float> rows = Random(elements, 5);
      const std::vector<uint16_t> halves = Halves(rows, DType::kF16);
      CheckRows(kernels, kernels.rows(DType::kF16), n, count, halves, rows);
      std::vector<int8_t> bytes;
      for (float& value : rows) {
        bytes.push_back(static_cast<int8_t>(std::clamp(std::rint(50 * value), -128.0f, 127.0f)));
        value = bytes.back();
      }
      CheckRows(kernels, kernels.rows(DType::kI8), n, count, bytes, rows);
    }
  }
}

TEST_P(VectorKernelsTest, AddMultiplyAndScaleRoundOnce) {
  for (const int64_t n : Lengths(0)) {
    const std::vector<float> a = Random(n, 3), b = Random(n, 4);
    GuardedFloats y(b), sum(a), product(a), scaled(a);
    kernels.add(sum.data(), y.data(), n);
    kernels.multiply(product.data(), y.data(), n);
    kernels.scale(scaled.data(), 0.3f, n);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(sum[i], a[i] + b[i]) << n;
      ASSERT_EQ(product[i], a[i] * b[i]) << n;
      ASSERT_EQ(scaled[i], a[i] * 0.3f) << n;
    }
    ASSERT_TRUE(sum.Intact() && product.Intact() && scaled.Intact()) << n;
  }
}

TEST_P(VectorKernelsTest, MaximumIsFoundWhereverItIs) {
  for (int64_t n = 1; n <= 70; ++n) {
    for (int64_t at = 0; at < n; ++at) {
      GuardedFloats x(std::vector<float>(static_cast<size_t>(n), -kInfinity));
      ASSERT_EQ(kernels.maximum(x.data(), n), -kInfinity);
      x.data()[at] = -3.5f;
      ASSERT_EQ(kernels.maximum(x.data(), n), -3.5f) << n << " " << at;
    }
  }
  for (const int64_t n : Lengths(1)) {
    std::vector<float> values = Random(n, 5, 100.0f);
    GuardedFloats x(values);
    ASSERT_EQ(kernels.maximum(x.data(), n), *std::max_element(values.begin(), values.end())) << n;
  }
}

// exp_sum with maximum 0 is exp, through whole vectors and through the tail.
TEST_P(VectorKernelsTest, ExpIsAccurateFromUnderflowToTheLargest) {
  constexpr int64_t kCount = 2'000'001;
  std::vector<float> x(kCount);
  for (int64_t i = 0; i < kCount; ++i)
    x[i] = static_cast<float>(-87.0 + 175.0 * static_cast<double>(i) / (kCount - 1));
  std::vector<float> y = x;
  kernels.exp_sum(y.data(), 0.0f, kCount);
  double worst = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const double expected = std::exp(double{x[i]});
    const double ulp = std::ldexp(1.0, std::ilogb(expected) - 23);
    worst = std::max(worst, std::abs(y[i] - expected) / ulp);
  }
  EXPECT_LE(worst, 1.5);
  for (const float tiny : {0.0f, -0.0f, 1e-40f, -1e-40f, 1e-20f}) {
    float value = tiny;
    EXPECT_EQ(kernels.exp_sum(&value, 0.0f, 1), 1.0f);
  }
}

TEST_P(VectorKernelsTest, ExpOfExtremes) {
  for (const int64_t n : {1, 3, 4, 8, 16, 33}) {
    const auto exp = [&](float value) {
      std::vector<float> x(static_cast<size_t>(n), value);
      kernels.exp_sum(x.data(), 0.0f, n);
      for (const float e : x) EXPECT_TRUE(e == x[0] || std::isnan(x[0]));
      return x.back();
    };
    for (const float low :
         {-87.1f, -88.0f, -104.0f, -1000.0f, -1e30f, -std::numeric_limits<float>::max(), -kInfinity}) {
      EXPECT_EQ(exp(low), 0.0f) << low;
    }
    for (const float high : {88.0f, 88.7f, 89.0f, 1000.0f, std::numeric_limits<float>::max(), kInfinity}) {
      EXPECT_GT(exp(high), 1.6e38f) << high;
      EXPECT_TRUE(std::isfinite(exp(high))) << high;
    }
    EXPECT_TRUE(std::isnan(exp(kNaN)));
  }
}

TEST_P(VectorKernelsTest, ExpSum) {
  for (const int64_t n : Lengths(0)) {
    std::vector<float> values = Random(n, 6, 4.0f);
    if (n > 2) values[static_cast<size_t>(n) / 2] = -kInfinity;
    const float maximum = n == 0 ? 0.0f : *std::max_element(values.begin(), values.end());
    double sum = 0;
    GuardedFloats x(values), unchanged(values);
    const float result = kernels.exp_sum(x.data(), maximum, n);
    for (int64_t i = 0; i < n; ++i) {
      const double expected = std::exp(double{values[i]} - double{maximum});
      ASSERT_NEAR(x[i], expected, 2e-6 * expected) << n;
      sum += expected;
    }
    ASSERT_NEAR(result, sum, (n < 5000 ? 2e-6 : 1e-5) * sum) << n;
    ASSERT_NEAR(kernels.exp_sum_of(unchanged.data(), maximum, n), sum, 2e-7 * sum) << n;
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(unchanged[i], values[i]);
    ASSERT_TRUE(x.Intact());
  }
}

// As long as the largest vocabularies: a float32 running sum would lose the small terms.
TEST_P(VectorKernelsTest, ExpSumOfKeepsItsPrecisionOverLongRows) {
  for (const int64_t n : {262'144, 300'007}) {
    std::vector<float> values(static_cast<size_t>(n), -11.7f);
    values[0] = 0.0f;
    const double expected = 1.0 + static_cast<double>(n - 1) * std::exp(double{-11.7f});
    EXPECT_NEAR(kernels.exp_sum_of(values.data(), 0.0f, n), expected, 3e-7 * expected);
    values = Random(n, 7, 3.0f);
    const float maximum = *std::max_element(values.begin(), values.end());
    double sum = 0;
    for (const float v : values) sum += std::exp(double{v} - double{maximum});
    EXPECT_NEAR(kernels.exp_sum_of(values.data(), maximum, n), sum, 3e-7 * sum);
  }
}

TEST_P(VectorKernelsTest, RmsNorm) {
  for (const int64_t n : Lengths(1)) {
    for (const bool weighted : {false, true}) {
      const std::vector<float> x = Random(n, 8, 3.0f), w = Random(n, 9);
      double squares = 0;
      for (const float v : x) squares += double{v} * double{v};
      const double factor = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
      GuardedFloats in(x), weight(w), out(n);
      kernels.rms_norm(in.data(), weighted ? weight.data() : nullptr, 1e-5f, out.data(), n);
      kernels.rms_norm(in.data(), weighted ? weight.data() : nullptr, 1e-5f, in.data(), n);
      for (int64_t i = 0; i < n; ++i) {
        const double expected = x[i] * factor * (weighted ? w[i] : 1);
        ASSERT_NEAR(out[i], expected, 1e-6 * std::abs(expected)) << n;
        ASSERT_EQ(in[i], out[i]) << "in place, " << n;
      }
      ASSERT_TRUE(out.Intact() && in.Intact());
    }
  }
}

TEST_P(VectorKernelsTest, RmsNormOfZerosIsZero) {
  GuardedFloats x(std::vector<float>(37, 0.0f));
  kernels.rms_norm(x.data(), nullptr, 1e-6f, x.data(), 37);
  for (int64_t i = 0; i < 37; ++i) EXPECT_EQ(x[i], 0.0f);
}

TEST_P(VectorKernelsTest, LayerNorm) {
  for (const int64_t n : Lengths(1)) {
    for (int variant = 0; variant < 4; ++variant) {
      const bool weighted = variant % 2 != 0, biased = variant / 2 != 0;
      const std::vector<float> x = Random(n, 10, 2.0f, 5.0f), w = Random(n, 11), b = Random(n, 12);
      double mean = 0, variance = 0;
      for (const float v : x) mean += v / static_cast<double>(n);
      for (const float v : x) variance += (v - mean) * (v - mean) / static_cast<double>(n);
      const double factor = 1 / std::sqrt(variance + 1e-5);
      GuardedFloats in(x), weight(w), bias(b), out(n);
      const float *weights = weighted ? weight.data() : nullptr, *biases = biased ? bias.data() : nullptr;
      kernels.layer_norm(in.data(), weights, biases, 1e-5f, out.data(), n);
      kernels.layer_norm(in.data(), weights, biases, 1e-5f, in.data(), n);
      // Rounding the mean moves every value by as much as an ulp of the mean.
      const double step = 1e-6 * (std::abs(mean) + 1) * factor;
      for (int64_t i = 0; i < n; ++i) {
        const double expected = (x[i] - mean) * factor * (weighted ? w[i] : 1) + (biased ? b[i] : 0);
        ASSERT_NEAR(out[i], expected, step * (1 + std::abs(w[i])) + 1e-6 * std::abs(expected)) << n;
        ASSERT_EQ(in[i], out[i]) << "in place, " << n;
      }
      ASSERT_TRUE(out.Intact() && in.Intact());
    }
  }
}

double Activation(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kSilu:
      return x / (1 + std::exp(-x));
    case ActivationKind::kRelu:
      return x > 0 ? x : 0;
    case ActivationKind::kReluSquared:
      return x > 0 ? x * x : 0;
    case ActivationKind::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case ActivationKind::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
  }
  return 0;
}

constexpr ActivationKind kActivations[] = {ActivationKind::kSilu, ActivationKind::kRelu,
                                           ActivationKind::kGelu, ActivationKind::kGeluTanh};

TEST_P(VectorKernelsTest, ActivationsOfEveryLength) {
  for (const ActivationKind kind : kActivations) {
    for (const int64_t n : Lengths(0)) {
      const std::vector<float> values = Random(n, 13, 3.0f);
      GuardedFloats x(values);
      kernels.activate(kind, x.data(), n);
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_NEAR(x[i], Activation(kind, values[i]), 3e-7 * std::max(1.0f, std::abs(values[i])))
            << n << " of kind " << static_cast<int>(kind);
      }
      ASSERT_TRUE(x.Intact());
    }
  }
}

TEST_P(VectorKernelsTest, ActivationsOverTheWholeRange) {
  std::vector<float> values;
  for (int i = -20000; i <= 20000; ++i) values.push_back(static_cast<float>(i) * 0.005f);
  for (const float magnitude : {1e-44f, 1e-38f, 1e-20f, 150.0f, 1e4f, 1e13f, 1e20f, 1e30f, 3e38f}) {
    for (const float sign : {-1.0f, 1.0f}) values.insert(values.end(), 17, sign * magnitude);
  }
  for (const ActivationKind kind : kActivations) {
    std::vector<float> x = values;
    kernels.activate(kind, x.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = values[i];
      const double expected = v < -100 ? 0 : Activation(kind, v);
      ASSERT_NEAR(x[i], expected, 3e-7 * (v < 0 ? std::min(-v, 1e2) : v) + 1e-38)
          << v << " of kind " << static_cast<int>(kind);
    }
  }
}

TEST_P(VectorKernelsTest, ActivationDoesNotDependOnThePlace) {
  for (const ActivationKind kind : kActivations) {
    std::vector<float> x(53, -1.2345f);
    kernels.activate(kind, x.data(), 53);
    EXPECT_EQ(std::set<float>(x.begin(), x.end()).size(), 1u) << static_cast<int>(kind);
  }
}

TEST_P(VectorKernelsTest, Rotate) {
  for (const int64_t pairs : Lengths(0)) {
    const std::vector<float> values = Random(2 * pairs, 14), angles = Random(pairs, 15, 3.0f);
    GuardedFloats x(values), cosine(pairs), sine(pairs);
    for (int64_t i = 0; i < pairs; ++i)
      cosine.data()[i] = std::cos(angles[i]), sine.data()[i] = std::sin(angles[i]);
    kernels.rotate(x.data(), cosine.data(), sine.data(), pairs);
    for (int64_t i = 0; i < pairs; ++i) {
      const double a = values[i], b = values[i + pairs], c = cosine[i], s = sine[i];
      const double tolerance = 2e-7 * (std::abs(a) + std::abs(b));
      ASSERT_NEAR(x[i], a * c - b * s, tolerance) << pairs;
      ASSERT_NEAR(x[i + pairs], b * c + a * s, tolerance) << pairs;
    }
    ASSERT_TRUE(x.Intact());
  }
}

TEST_P(VectorKernelsTest, MultiplyAddsDoesTheWorkItCounts) {
  // x <- x / 2 + 1 in every lane of every chain: 2 is the fixed point, and nothing else.
  float values[] = {5.0f, 0.5f, 1.0f};
  const double operations = kernels.multiply_adds(values, 100);
  EXPECT_EQ(values[0], operations / 200 * 2.0);  // one multiply-add a step is two operations
}

TEST(VectorKernels, AreSelectedByName) {
  EXPECT_EQ(SelectVectorKernels("portable").isa, "portable");
  EXPECT_EQ(SelectVectorKernels("").isa, Supported().front()->isa);
  std::set<std::string_view> names;
  for (const VectorKernels* kernels : AllVectorKernels()) {
    EXPECT_TRUE(names.insert(kernels->isa).second);
    if (kernels->supported()) {
      EXPECT_EQ(&SelectVectorKernels(kernels->isa), kernels);
    } else {
      EXPECT_ERROR(SelectVectorKernels(kernels->isa), "this processor lacks it");
    }
  }
  for (const std::string name : {"avx", "AVX2", "neon", " portable"}) {
    EXPECT_ERROR(SelectVectorKernels(name), name);
    EXPECT_ERROR(SelectVectorKernels(name), "portable");
  }
}

class IsaVariable {
 public:
  explicit IsaVariable(const char* value) {
    if (const char* before = std::getenv("GPTQ_ISA")) before_ = before;
    setenv("GPTQ_ISA", value, 1);
  }
  ~IsaVariable() { before_ ? setenv("GPTQ_ISA", before_->c_str(), 1) : unsetenv("GPTQ_ISA"); }

 private:
  std::optional<std::string> before_;
};

TEST(VectorKernels, AreForcedByTheEnvironment) {
  for (const VectorKernels* kernels : Supported()) {
    const std::string isa(kernels->isa);
    const IsaVariable variable(isa.c_str());
    EXPECT_THAT(MakeCpuBackend(1)->Describe(), testing::HasSubstr(isa + " kernels"));
    EXPECT_THAT(MakeCpuBackend(1, "portable")->Describe(), testing::HasSubstr("portable kernels"))
        << "asked for";
  }
  const IsaVariable unknown("mmx");
  EXPECT_ERROR(MakeCpuBackend(1), "mmx");
  const IsaVariable empty("");
  EXPECT_THAT(MakeCpuBackend(1)->Describe(), testing::HasSubstr(SelectPackedKernels("").isa));
}

}  // namespace vector_kernels_test
}  // namespace gptq
