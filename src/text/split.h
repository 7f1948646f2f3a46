// What to do with the matches of a pattern when a text is cut at them (tokenizer.json's "behavior").
#pragma once

#include <string_view>
#include <vector>

#include "text/regex.h"

namespace gptq {

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Throws Error for an unknown name.
SplitBehavior SplitBehaviorFromName(std::string_view name, std::string_view where);

struct MatchOrGap {
  Span span;
  bool is_match;  // or the text between two matches
};

// `matches` covers the text without gaps, from left to right; becomes the pieces that remain (some may be
// empty).
std::vector<Span> ApplyBehavior(const std::vector<MatchOrGap>& matches, SplitBehavior behavior);

}  // namespace gptq
