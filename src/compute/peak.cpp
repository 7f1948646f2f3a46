#include "compute/peak.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/tensor.h"
#include "compute/blas.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {
namespace {

// Operations a second of body(thread), which returns how many it did, run on all threads at once; the best of
// `rounds`.
double BestRate(ThreadPool& pool, int rounds, const std::function<double(int64_t)>& body) {
  double best = 0;
  std::vector<double> operations(static_cast<size_t>(pool.threads()));
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    pool.ParallelFor(pool.threads(), [&](int64_t t) { operations[static_cast<size_t>(t)] = body(t); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, std::accumulate(operations.begin(), operations.end(), 0.0) / seconds);
  }
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

double MeasureReadBandwidth(ThreadPool& pool) {
  const int64_t words_each = (int64_t{1} << 27) / pool.threads();
  Tensor memory =
      Tensor::Uninitialized(DType::kI64, {words_each * pool.threads()});  // on large pages, as weights are
  int64_t* words = memory.As<int64_t>().data();
  pool.ParallelFor(pool.threads(), [&](int64_t t) { std::fill_n(words + t * words_each, words_each, 1); });
  return BestRate(pool, 5, [&](int64_t t) {
    CHECK(SumWords(words + t * words_each, words_each) == words_each);
    return 8.0 * static_cast<double>(words_each);
  });
}

MachinePeak MeasurePeak(ThreadPool& pool) {
  MachinePeak peak;
  const auto threads = static_cast<size_t>(pool.threads());
  const VectorKernels& kernels = SelectVectorKernels("");
  peak.fma_flops_per_second = BestRate(pool, 3, [&](int64_t) {
    float values[] = {1.0f, 0.999f, 0.001f};
    return kernels.multiply_adds(values, 1 << 24);
  });

  peak.read_bandwidth_bytes_per_second = MeasureReadBandwidth(pool);
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
