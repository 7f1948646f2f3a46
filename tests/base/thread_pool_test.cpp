#include "base/thread_pool.h"

#include <atomic>
#include <stdexcept>
#include <vector>

#include "tests/test_util.h"

namespace gptq {
namespace thread_pool_test {

class Pool : public ::testing::TestWithParam<int> {};

TEST_P(Pool, RunsEveryPieceOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (int64_t count : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
    pool.ParallelFor(count, [&](int64_t i, int thread) {
      EXPECT_TRUE(thread >= 0 && thread < GetParam());
      ++runs[static_cast<size_t>(i)];
    });
    for (const auto& run : runs) EXPECT_EQ(run, 1);
  }
}

// Scratch memory indexed by the thread is never shared by two pieces at a time.
TEST_P(Pool, AThreadRunsOnePieceAtATime) {
  ThreadPool pool(GetParam());
  std::vector<std::atomic<int>> inside(static_cast<size_t>(GetParam()));
  pool.ParallelFor(2000, [&](int64_t, int thread) {
    EXPECT_EQ(++inside[static_cast<size_t>(thread)], 1);
    --inside[static_cast<size_t>(thread)];
  });
}

TEST_P(Pool, ThrowsWhatAPieceThrewAndStaysUsable) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 20; ++round) {
    EXPECT_THROW(pool.ParallelFor(100,
                                  [](int64_t i) {
                                    if (i == 37) throw std::runtime_error("piece");
                                  }),
                 std::runtime_error);
    std::atomic<int64_t> sum = 0;
    pool.ParallelFor(100, [&](int64_t i) { sum += i; });
    EXPECT_EQ(sum, 4950);
  }
}

TEST(Pools, SurviveManyShortLoops) {
  ThreadPool pool(4);
  std::atomic<int64_t> sum = 0;
  for (int loop = 0; loop < 5000; ++loop) pool.ParallelFor(4, [&](int64_t) { ++sum; });
  EXPECT_EQ(sum, 20000);
  EXPECT_GE(AvailableCores(), 1);
}

INSTANTIATE_TEST_SUITE_P(Threads, Pool, ::testing::Values(1, 2, 5));

}  // namespace thread_pool_test
}  // namespace gptq
