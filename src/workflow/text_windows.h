// A text as consecutive windows of tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "text/tokenizer.h"

namespace gptq {

// The whole text tokenized once, after what the tokenizer's own template adds at the start.
std::vector<int32_t> TokenizeText(const Tokenizer& tokenizer, std::string_view text);

struct TextWindows {
  std::vector<int32_t> ids;  // [(count - 1) * stride + length]
  int64_t length = 0;
  int64_t count = 0;
  int64_t stride = 0;  // tokens from one window's start to the next one's: `length` if they do not overlap

  std::span<const int32_t> window(int64_t w) const {
    return std::span(ids).subspan(static_cast<size_t>(w * stride), static_cast<size_t>(length));
  }
};

// The first `windows` (0 = all) windows of `length` tokens, one every `stride` tokens (0 = `length`: without
// overlap); the tail is dropped. Throws Error naming `text_name` where the ids are fewer than one window,
// UsageError for a length below 2 and a stride above the length.
TextWindows CutIntoWindows(std::vector<int32_t> ids, std::string_view text_name, int64_t length,
                           int64_t windows, int64_t stride = 0);

// Notes that there are fewer windows than the `asked` ones (0 = all).
void NoteMissingWindows(const TextWindows& windows, int64_t asked, std::string_view text_name,
                        Progress& progress);

}  // namespace gptq
