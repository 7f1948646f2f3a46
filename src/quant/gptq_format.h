// The tensors of a quantized linear as AutoGPTQ, GPTQModel, transformers, vLLM and SGLang store them (in = K,
// out = N):
//   qweight int32 [ceil(K * bits / 32), N]   codes, packed along K
//   qzeros  int32 [groups, ceil(N * bits / 32)]   zeros, packed along N; v1 stores zero - 1, v2 the zero
//   itself scales  float16 [groups, N] g_idx   int32 [K]   group of each input
// Bits 2, 3, 4 and 8; see bit_stream.h for the packing. No file is touched here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/packed_weight.h"
#include "base/tensor.h"
#include "quant/weight_format.h"

namespace gptq {

struct GptqTensors {
  Tensor qweight, qzeros, scales, g_idx;
};

struct GptqTensorViews {
  TensorView qweight, qzeros, scales;
  std::optional<TensorView> g_idx;  // absent or empty: groups follow each other
};

// Scales keep weight.scale_type. Throws Error naming `name` for other bits and for zeros that the version
// cannot say: 0 in v1, 2^bits in v2.
GptqTensors ToGptqTensors(const PackedWeight& weight, WeightFormat format, std::string_view name);

// Checks every shape, type and index; throws Error naming `name`. `columns` (K) matters only where there is
// no g_idx and K does not fill its last word. `symmetric` of the result says what the zeros are, whatever
// `settings` says. Appends to `warnings` (may be null): zeros that look like v2 under a v1 label (they are
// then read as v2), and v1 zeros that readers understand differently.
PackedWeight FromGptqTensors(const GptqTensorViews& tensors, const LinearSettings& settings,
                             std::string_view name, std::vector<std::string>* warnings,
                             std::optional<int64_t> columns = std::nullopt);

// What readers will say about a linear's shape, one sentence each; empty where all is well.
std::vector<std::string> ShapeWarnings(int64_t rows, int64_t columns, const LinearSettings& settings);

}  // namespace gptq
