#include "compute/blas.h"

#include <cstdlib>

#include "base/thread_pool.h"
#include "tests/compute/plain.h"

namespace gptq {
namespace blas_test {

using plain::Random;

TEST(Blas, ChoseTheKernelsThatThisProcessorCanRun) {
#if defined(__x86_64__)
  std::string expected;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    expected = "SkylakeX";
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    expected = "Haswell";
  } else {
    GTEST_SKIP() << "OpenBLAS chooses for this processor: " << blas::CoreName();
  }
  const char* forced = std::getenv("OPENBLAS_CORETYPE");
  ASSERT_NE(forced, nullptr) << "ours sets it before the library's constructor";
  if (forced != expected) GTEST_SKIP() << "the environment forces " << forced;
  EXPECT_EQ(blas::CoreName(), expected);
#else
  GTEST_SKIP() << "OpenBLAS chooses for this processor: " << blas::CoreName();
#endif
}

// op(a) op(b) for all four layouts; c holds NaN at first and must not be read where beta is 0.
template <typename T>
void CheckGemm(int64_t m, int64_t n, int64_t k) {
  const int64_t pad = 3;
  for (int layout = 0; layout < 4; ++layout) {
    const bool ta = layout % 2 != 0, tb = layout / 2 != 0;
    const int64_t a_stride = (ta ? m : k) + pad, b_stride = (tb ? k : n) + pad, c_stride = n + pad;
    const std::vector<float> a_values = Random((ta ? k : m) * a_stride, 1),
                             b_values = Random((tb ? n : k) * b_stride, 2);
    const std::vector<T> a(a_values.begin(), a_values.end()), b(b_values.begin(), b_values.end());
    std::vector<T> c(static_cast<size_t>(m * c_stride), std::numeric_limits<T>::quiet_NaN());
    blas::Gemm(ta, tb, m, n, k, T{2}, a.data(), a_stride, b.data(), b_stride, T{0}, c.data(), c_stride);
    const std::vector<T> first = c;
    blas::Gemm(ta, tb, m, n, k, T{-1}, a.data(), a_stride, b.data(), b_stride, T{1}, c.data(), c_stride);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0, magnitude = 0;
        for (int64_t l = 0; l < k; ++l) {
          const double term = double{a[ta ? l * a_stride + i : i * a_stride + l]} *
                              double{b[tb ? j * b_stride + l : l * b_stride + j]};
          sum += term, magnitude += std::abs(term);
        }
        const double tolerance = 8 * magnitude * double{std::numeric_limits<T>::epsilon()};
        ASSERT_NEAR(first[i * c_stride + j], 2 * sum, 2 * tolerance)
            << m << " " << n << " " << k << " layout " << layout;
        ASSERT_NEAR(c[i * c_stride + j], sum, 3 * tolerance);
      }
      for (int64_t j = n; j < c_stride; ++j)
        ASSERT_TRUE(std::isnan(c[i * c_stride + j])) << "wrote between the rows";
    }
  }
}

TEST(Blas, GemmOfEveryLayout) {
  for (const int64_t m : {1, 2, 17, 130}) {
    for (const int64_t n : {1, 3, 65}) {
      for (const int64_t k : {1, 5, 64, 257}) {
        CheckGemm<float>(m, n, k);
        CheckGemm<double>(m, n, k);
      }
    }
  }
}

TEST(Blas, SyrkAddsToTheUpperTriangleOnly) {
  const int64_t n = 75, k = 40, a_stride = 80, c_stride = 77;
  const std::vector<float> a = Random(k * a_stride, 3);
  std::vector<float> c(static_cast<size_t>(n * c_stride), 1.0f);
  blas::Syrk(n, k, 0.5f, a.data(), a_stride, c.data(), c_stride);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < c_stride; ++j) {
      double expected = 1;
      if (j >= i && j < n) {
        for (int64_t l = 0; l < k; ++l)
          expected += 0.5 * double{a[l * a_stride + i]} * double{a[l * a_stride + j]};
      }
      ASSERT_NEAR(c[i * c_stride + j], expected, 1e-5);
    }
  }
}

// A symmetric positive definite matrix in the lower triangle; above it 7, which must stay.
std::vector<double> Definite(int64_t n, int64_t stride) {
  const std::vector<float> a = Random(n * 2 * n, 6);
  std::vector<double> matrix(static_cast<size_t>(n * stride), 7.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < 2 * n; ++l) sum += double{a[i * 2 * n + l]} * double{a[j * 2 * n + l]};
      matrix[i * stride + j] = sum;
    }
  }
  return matrix;
}

TEST(Blas, CholeskyAndInverseOfTheLowerTriangle) {
  for (const int64_t n : {1, 2, 31, 150}) {
    const int64_t stride = n + 2;
    const std::vector<double> matrix = Definite(n, stride);
    std::vector<double> factor = matrix;
    ASSERT_TRUE(blas::CholeskyLower(n, factor.data(), stride));
    std::vector<double> inverse = factor;
    ASSERT_TRUE(blas::InvertLower(n, inverse.data(), stride));
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double product = 0, identity = 0;
        for (int64_t l = 0; l <= j; ++l) product += factor[i * stride + l] * factor[j * stride + l];
        for (int64_t l = j; l <= i; ++l) identity += factor[i * stride + l] * inverse[l * stride + j];
        ASSERT_NEAR(product, matrix[i * stride + j], 1e-10 * static_cast<double>(n));
        ASSERT_NEAR(identity, i == j ? 1 : 0, 1e-10);
      }
      for (int64_t j = i + 1; j < stride; ++j)
        ASSERT_TRUE(factor[i * stride + j] == 7 && inverse[i * stride + j] == 7);
    }
  }
}

TEST(Blas, CholeskyRefusesAnIndefiniteMatrix) {
  std::vector<double> matrix = Definite(40, 40);
  matrix[20 * 40 + 20] = -1;
  EXPECT_FALSE(blas::CholeskyLower(40, matrix.data(), 40));
  std::vector<double> zero(4, 0.0);
  EXPECT_FALSE(blas::CholeskyLower(2, zero.data(), 2));
  std::vector<double> singular = {1, 0, 5, 0};
  EXPECT_FALSE(blas::InvertLower(2, singular.data(), 2));
}

// A build of the library without threads shares its buffers between callers and silently returns wrong
// products.
TEST(Blas, ConcurrentCallsGiveTheBytesOfASingleThread) {
  struct Case {
    int64_t m, n, k;
  };
  const Case cases[] = {{512, 256, 192}, {64, 64, 64},   {1, 300, 64},
                        {130, 65, 257},  {33, 512, 100}, {256, 96, 768}};
  constexpr int64_t kCases = std::size(cases), kTasks = 400;
  const std::vector<float> a = Random(512 * 768, 7), b = Random(768 * 768, 8);
  const auto run = [&](const Case& c) {
    std::vector<float> product(static_cast<size_t>(c.m * c.n));
    blas::Gemm(false, true, c.m, c.n, c.k, 1.0f, a.data(), c.k, b.data(), c.k, 0.0f, product.data(), c.n);
    return product;
  };
  const std::vector<double> definite = Definite(120, 120);
  const auto factor = [&] {
    std::vector<double> l = definite;
    CHECK(blas::CholeskyLower(120, l.data(), 120) && blas::InvertLower(120, l.data(), 120));
    return l;
  };
  const auto hessian = [&] {
    std::vector<float> h(192 * 192, 0.0f);
    blas::Syrk(192, 256, 1.0f, a.data(), 192, h.data(), 192);
    return h;
  };
  std::vector<std::vector<float>> expected;
  for (const Case& c : cases) expected.push_back(run(c));
  const std::vector<double> expected_factor = factor();
  const std::vector<float> expected_hessian = hessian();
  for (const int threads : {2, 4, 7}) {
    ThreadPool pool(threads);
    std::vector<int> wrong(kTasks);
    pool.ParallelFor(kTasks, [&](int64_t task) {
      const int64_t kind = task % (kCases + 2);
      if (kind < kCases) wrong[task] = run(cases[kind]) != expected[kind];
      if (kind == kCases) wrong[task] = factor() != expected_factor;
      if (kind == kCases + 1) wrong[task] = hessian() != expected_hessian;
    });
    EXPECT_EQ(std::count(wrong.begin(), wrong.end(), 1), 0) << threads << " threads";
  }
}

}  // namespace blas_test
}  // namespace gptq
