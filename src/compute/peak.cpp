#include "compute/peak.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "compute/blas.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {
namespace {

// Operations a second of body(thread), which returns how many it did, run on all threads at once.
double Rate(ThreadPool& pool, const std::function<double(int64_t)>& body) {
  std::vector<double> operations(static_cast<size_t>(pool.threads()));
  const auto start = std::chrono::steady_clock::now();
  pool.ParallelFor(pool.threads(), [&](int64_t t) { operations[static_cast<size_t>(t)] = body(t); });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return std::accumulate(operations.begin(), operations.end(), 0.0) / seconds;
}

double BestRate(ThreadPool& pool, int rounds, const std::function<double(int64_t)>& body) {
  double best = 0;
  for (int round = 0; round < rounds; ++round) best = std::max(best, Rate(pool, body));
  return best;
}

#if defined(__x86_64__)
#define GPTQ_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define GPTQ_CLONES
#endif

GPTQ_CLONES int64_t SumWords(const int64_t* words, int64_t count) {
  int64_t total = 0;
  for (int64_t i = 0; i < count; ++i) total += words[i];
  return total;
}

}  // namespace

BandwidthTest::BandwidthTest(ThreadPool& pool)
    : pool_(pool),
      words_each_((int64_t{1} << 27) / pool.threads()),
      memory_(
          Tensor::Uninitialized(DType::kI64, {words_each_ * pool.threads()})) {  // large pages, as weights
  int64_t* words = memory_.As<int64_t>().data();
  pool.ParallelFor(pool.threads(), [&](int64_t t) { std::fill_n(words + t * words_each_, words_each_, 1); });
}

double BandwidthTest::Pass() {
  const int64_t* words = memory_.As<int64_t>().data();
  return Rate(pool_, [&](int64_t t) {
    CHECK(SumWords(words + t * words_each_, words_each_) == words_each_);
    return 8.0 * static_cast<double>(words_each_);
  });
}

double BandwidthTest::Best(int passes) {
  double best = 0;
  for (int i = 0; i < passes; ++i) best = std::max(best, Pass());
  return best;
}

MachinePeak MeasurePeak(ThreadPool& pool) {
  MachinePeak peak;
  const auto threads = static_cast<size_t>(pool.threads());
  const VectorKernels& kernels = SelectVectorKernels("");
  peak.fma_flops_per_second = BestRate(pool, 3, [&](int64_t) {
    float values[] = {1.0f, 0.999f, 0.001f};
    return kernels.multiply_adds(values, 1 << 24);
  });

  peak.read_bandwidth_bytes_per_second = BandwidthTest(pool).Best(5);
  constexpr int64_t kSize = 2048;
  const std::vector<float> operand(kSize * kSize, 0.5f);
  std::vector<std::vector<float>> products(threads, std::vector<float>(kSize * kSize));
  peak.gemm_flops_per_second = BestRate(pool, 5, [&](int64_t t) {
    blas::Gemm(false, true, kSize, kSize, kSize, 1.0f, operand.data(), kSize, operand.data(), kSize, 0.0f,
               products[static_cast<size_t>(t)].data(), kSize);
    return 2.0 * kSize * kSize * kSize;
  });
  return peak;
}

}  // namespace gptq
