// A 64-bit hash that tells contents apart and finds damage. Not against forgers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace gptq {

// Several contents in a row: hand the hash so far to the next call. About as fast as memory is read.
uint64_t HashBytes(std::span<const std::byte> bytes, uint64_t seed = 0);
uint64_t HashText(std::string_view text, uint64_t seed = 0);
// As people see it: 16 hexadecimal digits.
std::string HashName(uint64_t hash);

}  // namespace gptq
