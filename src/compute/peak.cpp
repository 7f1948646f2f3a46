#include "compute/peak.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "compute/blas.h"

namespace gptq {
namespace {

// Operations a second of body(thread), run on all threads at once; the best of `rounds`.
double BestRate(ThreadPool& pool, int rounds, double operations_per_thread, const std::function<void(int64_t)>& body) {
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    pool.ParallelFor(pool.threads(), body);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, operations_per_thread * pool.threads() / seconds);
  }
  return best;
}

#if defined(__x86_64__)
#define GPTQ_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define GPTQ_CLONES
#endif

typedef float Lanes __attribute__((vector_size(64)));

constexpr int64_t kFmaSteps = 1 << 24;
constexpr int kChains = 12;

GPTQ_CLONES __attribute__((optimize("O3", "fp-contract=fast"))) float MultiplyAddChains() {
  Lanes sums[kChains] = {};
  const Lanes factor = Lanes{} + 0.999f, term = Lanes{} + 0.001f;
  for (int64_t step = 0; step < kFmaSteps; ++step) {
    for (int c = 0; c < kChains; ++c) sums[c] = sums[c] * factor + term;
  }
  float total = 0;
  for (const Lanes& sum : sums) total += sum[0];
  return total;
}

GPTQ_CLONES int64_t SumWords(const int64_t* words, int64_t count) {
  int64_t total = 0;
  for (int64_t i = 0; i < count; ++i) total += words[i];
  return total;
}

}  // namespace

MachinePeak MeasurePeak(ThreadPool& pool) {
  MachinePeak peak;
  volatile float float_sink = 0;
  volatile int64_t word_sink = 0;
  const auto threads = static_cast<size_t>(pool.threads());
  peak.fma_flops_per_second = BestRate(pool, 3, 2.0 * kChains * 16 * static_cast<double>(kFmaSteps),
                                       [&](int64_t) { float_sink = MultiplyAddChains(); });

  const int64_t words_each = (int64_t{1} << 27) / pool.threads();
  const std::vector<int64_t> memory(static_cast<size_t>(words_each) * threads, 1);
  peak.read_bandwidth_bytes_per_second = BestRate(pool, 5, 8.0 * static_cast<double>(words_each), [&](int64_t t) {
    word_sink = SumWords(memory.data() + t * words_each, words_each);
  });

  constexpr int64_t kSize = 2048;
  const std::vector<float> operand(kSize * kSize, 0.5f);
  std::vector<std::vector<float>> products(threads, std::vector<float>(kSize * kSize));
  peak.gemm_flops_per_second = BestRate(pool, 5, 2.0 * kSize * kSize * kSize, [&](int64_t t) {
    blas::Gemm(false, true, kSize, kSize, kSize, 1.0f, operand.data(), kSize, operand.data(), kSize, 0.0f,
               products[static_cast<size_t>(t)].data(), kSize);
  });
  return peak;
}

}  // namespace gptq
