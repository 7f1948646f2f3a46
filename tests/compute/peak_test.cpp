#include "compute/peak.h"

#include "tests/test_util.h"

namespace gptq {
namespace peak_test {

// A good product reaches 0.8 to 0.95 of what registers alone do. The bounds leave room for a busy machine,
// sanitizers and processors without FMA; a loop whose chains the compiler merges into one seems 3 times
// faster than it is.
TEST(Peak, IsPlausible) {
  ThreadPool pool(1);
  const MachinePeak peak = MeasurePeak(pool);
  EXPECT_GT(peak.fma_flops_per_second, 0.3 * peak.gemm_flops_per_second);
  EXPECT_LT(peak.fma_flops_per_second, 2.5 * peak.gemm_flops_per_second);
  EXPECT_GT(peak.read_bandwidth_bytes_per_second, 1e8);
  EXPECT_LT(peak.read_bandwidth_bytes_per_second, 1e13);
}

}  // namespace peak_test
}  // namespace gptq
