#include "compute/peak.h"

#include "tests/test_util.h"

namespace gptq {
namespace {

// Nothing multiplies faster than registers alone, and no matrix product of an optimized library is ten times
// slower: a peak outside these bounds was not measured (the compiler removed the work, or the library chose
// old kernels).
TEST(Peak, IsPlausible) {
  ThreadPool pool(1);
  const MachinePeak peak = MeasurePeak(pool);
  EXPECT_GT(peak.fma_flops_per_second, 0.8 * peak.gemm_flops_per_second);
  EXPECT_LT(peak.fma_flops_per_second, 10 * peak.gemm_flops_per_second);
  EXPECT_GT(peak.read_bandwidth_bytes_per_second, 1e8);
  EXPECT_LT(peak.read_bandwidth_bytes_per_second, 1e13);
}

}  // namespace
}  // namespace gptq
