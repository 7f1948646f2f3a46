// What this machine can do at best, measured: the yardstick of every speed that is reported.
#pragma once

#include "base/tensor.h"
#include "base/thread_pool.h"

namespace gptq {

struct MachinePeak {
  double read_bandwidth_bytes_per_second = 0;  // summing 1 GiB
  double fma_flops_per_second = 0;             // independent fused multiply-adds in registers
  double gemm_flops_per_second = 0;            // float32 products of 2048 x 2048 matrices, one per thread
};

// All threads of the pool at once; best of a few rounds, about 3 seconds.
MachinePeak MeasurePeak(ThreadPool& pool);

// Reads 1 GiB, each thread its part.
class BandwidthTest {
 public:
  explicit BandwidthTest(ThreadPool& pool);
  double Pass();            // bytes per second, of one
  double Best(int passes);  // of some

 private:
  ThreadPool& pool_;
  int64_t words_each_;
  Tensor memory_;
};

}  // namespace gptq
