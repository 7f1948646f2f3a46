// CUDA's words for kernels, with the meaning that they have on the processor: the threads of a block are
// fibers, which change at barriers and shuffles. Slow, exact, and anywhere; included by
// compute/cuda/kernel.cuh.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "base/half.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

struct EmulatedIndex {
  unsigned x, y, z;
};
inline EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;  // of the thread that runs

struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace gptq::cuda {

// Runs `thread` for each thread of each block, or records it if the device records a graph.
void EmulateLaunch(Device& device, const char* name, const Geometry& geometry, std::function<void()> thread);
void EmulateBlockBarrier();
void EmulateWarpBarrier();
// 16 words of each lane of the running thread's warp.
uint32_t* EmulatedLane(int lane);
void* EmulatedSharedMemory();

struct Half {
  uint16_t bits;
};
inline float ToFloat(Half x) { return HalfToFloat(x.bits); }
inline Half ToHalf(float x) {
  return {FloatToHalf(std::fabs(x) <= 3.4e38f ? std::fmin(std::fmax(x, -65504.0f), 65504.0f) : x)};
}

template <typename T>
T* SharedMemory() {
  return static_cast<T*>(EmulatedSharedMemory());
}

template <typename T>
T LoadOnce(const T* p) {
  return *p;
}

inline void WaitForPrevious() {}
inline void LetNextBegin() {}

inline void MultiplyBytes(int (&c)[4], const uint32_t (&a)[4], uint2 b) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint32_t* mine = EmulatedLane(lane);
  std::memcpy(mine, a, 16);
  mine[4] = b.x, mine[5] = b.y;
  EmulateWarpBarrier();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 32; ++k) {
      const uint32_t left = EmulatedLane(row % 8 * 4 + k % 16 / 4)[row / 8 + 2 * (k / 16)];
      const uint32_t right = EmulatedLane(column * 4 + k % 16 / 4)[4 + k / 16];
      c[i] += static_cast<int>(left >> (8 * (k % 4)) & 255) * static_cast<int8_t>(right >> (8 * (k % 4)));
    }
  }
  EmulateWarpBarrier();
}

template <typename... Parameters, typename... Arguments>
void Launch(Device& device, const char* name, void (*kernel)(Parameters...), const Geometry& geometry,
            Arguments... arguments) {
  EmulateLaunch(device, name, geometry, [=] { kernel(static_cast<Parameters>(arguments)...); });
}

}  // namespace gptq::cuda

inline void __syncthreads() { gptq::cuda::EmulateBlockBarrier(); }
inline void __syncwarp() { gptq::cuda::EmulateWarpBarrier(); }

template <typename T>
T EmulateShuffle(T value, int source) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  std::memcpy(gptq::cuda::EmulatedLane(static_cast<int>(threadIdx.x) % 32), &value, sizeof(T));
  gptq::cuda::EmulateWarpBarrier();
  std::memcpy(&value, gptq::cuda::EmulatedLane(source & 31), sizeof(T));
  gptq::cuda::EmulateWarpBarrier();
  return value;
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return EmulateShuffle(value, static_cast<int>(threadIdx.x) % 32 ^ mask);
}
template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return EmulateShuffle(value, lane);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, int delta) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return EmulateShuffle(value, lane + delta < 32 ? lane + delta : lane);
}

template <typename T>
T atomicAdd(T* place, std::type_identity_t<T> value) {
  const T old = *place;
  *place = old + value;
  return old;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
// Division, products and sums rounded to nearest and never fused.
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
