// For files with kernels: the few things that differ between CUDA and its emulation on the processor.
#pragma once

#include <cstdint>

#include "compute/cuda/runtime.h"

#ifdef GPTQ_CUDA_EMULATED
#include "emulated_kernel.h"
#else

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <string>

#include "base/error.h"

namespace gptq::cuda {

void ThrowLaunchError(cudaError_t status, const char* kernel);
cudaStream_t StreamOf(Device& device);

using Half = __half;
__device__ inline float ToFloat(Half x) { return __half2float(x); }
// What is finite stays so: beyond float16's range it becomes its greatest value.
__device__ inline Half ToHalf(float x) {
  return __float2half_rn(fabsf(x) <= 3.4e38f ? fminf(fmaxf(x, -65504.0f), 65504.0f) : x);
}

// A block's shared memory whose size the launch gives.
template <typename T>
__device__ T* SharedMemory() {
  extern __shared__ uint4 shared_memory[];
  return reinterpret_cast<T*>(shared_memory);
}

// Weights, which are read once: past the first cache, first to leave the second.
__device__ inline uint4 LoadOnce(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
__device__ inline uint2 LoadOnce(const uint2* p) {
  uint2 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%0, %1}, [%2];"
               : "=r"(v.x), "=r"(v.y)
               : "l"(p));
  return v;
}

// c [16, 8] += a [16, 32] b [32, 8] of a warp: a's bytes without, b's with sign.
__device__ inline void MultiplyBytes(int (&c)[4], const uint32_t (&a)[4], uint2 b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

// A kernel may begin before the one before it has ended, until here; nothing that others write may be read,
// and nothing written, before.
__device__ inline void WaitForPrevious() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}
// From here on the next kernel may begin.
__device__ inline void LetNextBegin() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

// Every kernel calls WaitForPrevious before it touches memory that another one writes.
template <typename... Parameters, typename... Arguments>
void Launch(Device& device, const char* name, void (*kernel)(Parameters...), const Geometry& geometry,
            Arguments... arguments) {
  if (geometry.blocks_x == 0 || geometry.blocks_y == 0 || geometry.blocks_z == 0) return;
  if (geometry.shared_bytes > 48 * 1024) {
    ThrowLaunchError(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                          cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          static_cast<int>(geometry.shared_bytes)),
                     name);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(geometry.blocks_x), static_cast<unsigned>(geometry.blocks_y),
                        static_cast<unsigned>(geometry.blocks_z));
  config.blockDim = dim3(static_cast<unsigned>(geometry.threads));
  config.dynamicSmemBytes = static_cast<size_t>(geometry.shared_bytes);
  config.stream = StreamOf(device);
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = 1;
  ThrowLaunchError(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

}  // namespace gptq::cuda

#endif

#define GPTQ_LAUNCH(device, kernel, ...) ::gptq::cuda::Launch(device, #kernel, kernel, __VA_ARGS__)

namespace gptq::cuda {

// Sums over the lanes of a warp; all lanes get the sum, always added in the same order.
__device__ inline float WarpSum(float x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}
__device__ inline float WarpMaximum(float x) {
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  return x;
}

// Over the threads of a block of whole warps, at most 32; `shared` [32] may be used again after the next
// __syncthreads.
template <typename Combine>
__device__ float BlockCombine(float x, float* shared, Combine combine) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  x = combine(x);
  __syncthreads();
  if (lane == 0) shared[warp] = x;
  __syncthreads();
  x = shared[lane < warps ? lane : 0];
  return x;
}
__device__ inline float BlockSum(float x, float* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warps = static_cast<int>(blockDim.x) / 32;
  x = BlockCombine(x, shared, [](float v) { return WarpSum(v); });
  return WarpSum(lane < warps ? x : 0.0f);
}
__device__ inline float BlockMaximum(float x, float* shared) {
  return WarpMaximum(BlockCombine(x, shared, [](float v) { return WarpMaximum(v); }));
}

inline int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace gptq::cuda
