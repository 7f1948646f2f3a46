// Where a GGUF file keeps a model's tensors, and in which order: the tables of an architecture's "gguf"
// section.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/architecture.h"
#include "model/spec.h"

namespace gptq {

// Which stored row a row of Hugging Face's matrix is.
enum class GgufRows {
  kSame,
  kInterleaved,   // pairs of rotary dimensions: row j * head_dim / 2 + i of a head is stored as its 2i + j
  kConcatenated,  // of a fused projection: all queries, all keys, all values, also where they lie in groups
};

struct GgufPlace {
  std::string name;    // without .weight and .bias, but for whole tensors
  bool whole = false;  // the place of one tensor, not of a module with weight and bias
  int64_t part = -1;   // of the first dimension: an expert's or a head's; -1: all
  GgufRows rows = GgufRows::kSame;
  float added = 0;          // to each value of the weight
  bool transposed = false;  // Hugging Face stores the matrix [inputs, outputs], GGUF [outputs, inputs]
  bool float32 = false;     // norms, routers and positions, which GGUF keeps as they are
  // What joins keys and values of all heads, [heads * (plain + value), rank], may lie in two tensors:
  // [heads, rank, plain] and [heads, value, rank]. Their names; else empty.
  std::string joined_key, joined_value;
};

// By Hugging Face's module (or whole tensor), for all blocks, experts and heads of the model.
std::map<std::string, GgufPlace> GgufPlaces(const Architecture& architecture, const ModelSpec& spec);

// The module and the kind ("weight", "bias") of each tensor that a place may hold.
std::vector<std::pair<std::string, std::string>> TensorsAt(const std::string& module, const GgufPlace& place);

// Does the tensor hold divisors of rotary frequencies, which Hugging Face's config.json holds?
bool IsRotaryFactors(std::string_view name);

// For each Hugging Face row, the stored row; empty if they are the same.
std::vector<int32_t> GgufRowOrder(GgufRows rows, const ModelSpec& spec, int64_t count);

}  // namespace gptq
