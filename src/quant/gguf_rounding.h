// Grids of GGUF's types that fit given weights, and rounding to nearest onto them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/gguf_block.h"
#include "base/thread_pool.h"

namespace gptq {

// A grid of small error sum of importance * (value - rounded)² over `values` [type.columns]. `importance`
// [type.columns]; null: all count alike. Values must be finite.
GgufBlockGrid FitGgufBlock(const GgufBlockType& type, const float* values, const float* importance);

// The nearest codes.
void RoundGgufBlock(const GgufBlockType& type, const GgufBlockGrid& grid, const float* values,
                    uint8_t* codes);

// `count` values, a multiple of the type's block, to blocks.
void RoundToGguf(DType dtype, const float* values, int64_t count, std::byte* blocks);
// The same by all threads.
void RoundToGguf(DType dtype, const float* values, int64_t count, std::byte* blocks, ThreadPool& pool);

}  // namespace gptq
