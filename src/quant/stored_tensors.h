// Checks that the readers of all folder formats share: what is stored is hostile until they have passed.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/packed_weight.h"
#include "base/tensor.h"

namespace gptq {

inline constexpr int64_t kGreatestSize = int64_t{1} << 31;

// All throw Error naming `name`, the linear, and `tensor`, what is wrong with it.
// [first, second], or any size where negative.
void CheckShape(const TensorView& view, std::string_view tensor, int64_t first, int64_t second,
                std::string_view name);
void CheckType(const TensorView& view, std::string_view tensor, bool good, std::string_view name);
void CheckCodes(const TensorView& view, std::string_view tensor, std::string_view name);   // int32
void CheckScales(const TensorView& view, std::string_view tensor, std::string_view name);  // F16, BF16, F32

// An owned copy, as the stored bytes may be unaligned.
std::vector<int32_t> Words(const TensorView& view);

// Group of each column: from the stored index (absent or empty: groups of `size` follow each other).
std::vector<int32_t> GroupIndex(const std::optional<TensorView>& stored, std::string_view tensor,
                                int64_t columns, int64_t groups, int64_t size, std::string_view name);

// Sets group_size and groups for weight.columns. `size`: -1 for whole rows.
void SetGroups(int64_t size, std::string_view name, PackedWeight& weight);

// Throws Error where a scale is not finite.
void CheckFinite(const PackedWeight& weight, std::string_view name);

// Every zero is in the middle of the grid.
bool ZerosInTheMiddle(const PackedWeight& weight);

}  // namespace gptq
