// The tensors of a quantized linear as compressed-tensors' "pack-quantized" stores them (in = K, out = N):
//   weight_packed      int32 [N, ceil(K * bits / 32)]       codes, packed along K
//   weight_scale       float16, bfloat16 or float32 [N, groups]
//   weight_zero_point  int32 [ceil(N * bits / 32), groups]  zeros, packed along N; only if not symmetric
//   weight_shape       int64 [2]                            N, K
//   weight_g_idx       int32 [K]                            only where groups do not follow each other
// Codes and zeros are signed there and stored with 2^(bits-1) added, which makes them those of PackedWeight.
// Bits 2 to 8; see bit_stream.h for the packing. No file is touched here.
#pragma once

#include <optional>
#include <string_view>

#include "base/packed_weight.h"
#include "base/tensor.h"
#include "quant/weight_format.h"

namespace gptq {

struct CompressedTensors {
  Tensor packed, scale, shape;
  std::optional<Tensor> zero_point, group_index;
};

struct CompressedTensorViews {
  TensorView packed, scale, shape;
  std::optional<TensorView> zero_point, group_index;
};

// Scales keep weight.scale_type. `symmetric`: no zeros are stored. `sequential`: no group index is. Throws
// Error naming `name` for zeros of 2^bits, and for any but the middle one with `symmetric`.
CompressedTensors ToCompressedTensors(const PackedWeight& weight, bool symmetric, bool sequential,
                                      std::string_view name);

// Checks every shape, type and index; throws Error naming `name`. `symmetric` of the result says what the
// zeros are.
PackedWeight FromCompressedTensors(const CompressedTensorViews& tensors, const LinearSettings& settings,
                                   std::string_view name);

}  // namespace gptq
