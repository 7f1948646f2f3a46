// Values of any element type as float32, and float32 as the plain types.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/tensor.h"

namespace gptq {

// `elements` consecutive elements, a multiple of the type's block, from possibly unaligned memory. Block
// types are dequantized in float32 as ggml-quants.c defines them. Integer types are converted by value.
void ToFloat(DType dtype, const std::byte* source, int64_t elements, float* destination);
Tensor ToFloat(const TensorView& view);

// To F32, F16 or BF16, rounded to nearest even; finite values beyond the type's range become infinite.
void FromFloat(const float* source, int64_t elements, DType dtype, std::byte* destination);
Tensor FromFloat(const Tensor& values, DType dtype);

// The slow twins, without instructions that only some processors have: for tests.
void ToFloatPortable(DType dtype, const std::byte* source, int64_t elements, float* destination);
void FromFloatPortable(const float* source, int64_t elements, DType dtype, std::byte* destination);

}  // namespace gptq
