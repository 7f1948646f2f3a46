#include "text/split.h"

#include <algorithm>

#include "base/error.h"

namespace gptq {
namespace {

std::vector<Span> MergeWithPrevious(const std::vector<MatchOrGap>& matches) {
  std::vector<Span> pieces;
  bool after_match = false;
  for (const MatchOrGap& match : matches) {
    if (match.is_match && !after_match && !pieces.empty()) {
      pieces.back().end = match.span.end;
    } else {
      pieces.push_back(match.span);
    }
    after_match = match.is_match;
  }
  return pieces;
}

std::vector<Span> MergeWithNext(const std::vector<MatchOrGap>& matches) {
  std::vector<Span> pieces;
  bool before_match = false;
  for (auto match = matches.rbegin(); match != matches.rend(); ++match) {
    if (match->is_match && !before_match && !pieces.empty()) {
      pieces.back().begin = match->span.begin;
    } else {
      pieces.push_back(match->span);
    }
    before_match = match->is_match;
  }
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::vector<Span> MergeRuns(const std::vector<MatchOrGap>& matches) {
  std::vector<Span> pieces;
  bool last = false;
  for (const MatchOrGap& match : matches) {
    if (!pieces.empty() && match.is_match == last) {
      pieces.back().end = match.span.end;
    } else {
      pieces.push_back(match.span);
    }
    last = match.is_match;
  }
  return pieces;
}

}  // namespace

SplitBehavior SplitBehaviorFromName(std::string_view name, std::string_view where) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  throw Error(Concat("unknown split behavior '", name, "'"), where, "correct the file");
}

std::vector<Span> ApplyBehavior(const std::vector<MatchOrGap>& matches, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kMergedWithPrevious:
      return MergeWithPrevious(matches);
    case SplitBehavior::kMergedWithNext:
      return MergeWithNext(matches);
    case SplitBehavior::kContiguous:
      return MergeRuns(matches);
    case SplitBehavior::kRemoved:
    case SplitBehavior::kIsolated:
      break;
  }
  std::vector<Span> pieces;
  pieces.reserve(matches.size());
  for (const MatchOrGap& match : matches) {
    if (behavior == SplitBehavior::kIsolated || !match.is_match) pieces.push_back(match.span);
  }
  return pieces;
}

}  // namespace gptq
