// Element types of tensors on disk and in memory, GGUF's block types among them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace gptq {

enum class DType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  // GGUF block types (ggml-common.h): a row is a sequence of blocks.
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;   // as printed: "F16", "Q4_K"
  int64_t block_elements;  // 1 for plain types
  int64_t block_bytes;
};

const DTypeInfo& Info(DType dtype);
inline std::string_view Name(DType dtype) { return Info(dtype).name; }
inline bool IsBlockType(DType dtype) { return Info(dtype).block_elements > 1; }
bool IsFloat(DType dtype);  // F64, F32, F16, BF16
std::optional<DType> DTypeFromName(std::string_view name);

// Bytes of `elements` consecutive elements; elements must be a multiple of the block.
int64_t ByteSize(DType dtype, int64_t elements);

}  // namespace gptq
