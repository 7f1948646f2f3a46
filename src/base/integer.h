// Arithmetic of whole numbers; all of them positive, or `a` 0.
#pragma once

#include <cstdint>

namespace gptq {

constexpr int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t multiple) { return CeilDivide(a, multiple) * multiple; }

}  // namespace gptq
