#include "base/dtype.h"

#include "base/error.h"

namespace gptq {
namespace {

constexpr DTypeInfo kInfos[] = {
    {DType::kF64, "F64", 1, 8},       {DType::kF32, "F32", 1, 4},       {DType::kF16, "F16", 1, 2},
    {DType::kBF16, "BF16", 1, 2},     {DType::kI64, "I64", 1, 8},       {DType::kI32, "I32", 1, 4},
    {DType::kI16, "I16", 1, 2},       {DType::kI8, "I8", 1, 1},         {DType::kU8, "U8", 1, 1},
    {DType::kBool, "BOOL", 1, 1},     {DType::kQ4_0, "Q4_0", 32, 18},   {DType::kQ4_1, "Q4_1", 32, 20},
    {DType::kQ5_0, "Q5_0", 32, 22},   {DType::kQ5_1, "Q5_1", 32, 24},   {DType::kQ8_0, "Q8_0", 32, 34},
    {DType::kQ2_K, "Q2_K", 256, 84},  {DType::kQ3_K, "Q3_K", 256, 110}, {DType::kQ4_K, "Q4_K", 256, 144},
    {DType::kQ5_K, "Q5_K", 256, 176}, {DType::kQ6_K, "Q6_K", 256, 210},
};

}  // namespace

const DTypeInfo& Info(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  CHECK(index < std::size(kInfos) && kInfos[index].dtype == dtype);
  return kInfos[index];
}

bool IsFloat(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

std::optional<DType> DTypeFromName(std::string_view name) {
  for (const DTypeInfo& info : kInfos) {
    if (info.name == name) return info.dtype;
  }
  return std::nullopt;
}

int64_t ByteSize(DType dtype, int64_t elements) {
  const DTypeInfo& info = Info(dtype);
  CHECK(elements >= 0 && elements % info.block_elements == 0);
  return elements / info.block_elements * info.block_bytes;
}

}  // namespace gptq
