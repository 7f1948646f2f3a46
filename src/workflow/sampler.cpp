#include "workflow/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace gptq {
namespace {

// Likeliest first; equal ones by id, so that the choice does not depend on the sort.
constexpr auto kBefore = [](const auto& a, const auto& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
};

float GreatestLogit(std::span<const float> values) {
  std::array<float, 16> most;  // lanes, for the compiler to keep in registers
  most.fill(values[0]);
  const size_t whole = values.size() / most.size() * most.size();
  for (size_t i = 0; i < whole; i += most.size()) {
    for (size_t lane = 0; lane < most.size(); ++lane)
      most[lane] = values[i + lane] > most[lane] ? values[i + lane] : most[lane];
  }
  for (size_t i = whole; i < values.size(); ++i) most[0] = std::max(most[0], values[i]);
  return *std::ranges::max_element(most);
}

}  // namespace

std::span<const float> Sampler::Penalize(std::span<const float> logits, std::span<const int32_t> seen) {
  if (options_.repeat_penalty == 1.0) return logits;
  penalized_.assign(logits.begin(), logits.end());
  was_seen_.assign(logits.size(), false);
  for (const int32_t token : seen) {
    const auto id = static_cast<size_t>(token);
    if (was_seen_[id]) continue;
    was_seen_[id] = true;
    const double logit = penalized_[id];
    penalized_[id] =
        static_cast<float>(logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty);
  }
  return penalized_;
}

// The top_k likeliest, likeliest first.
void Sampler::TakeLikeliest(std::span<const float> logits) {
  const auto count = static_cast<size_t>(options_.top_k), room = 2 * count + 64;
  const auto cut = [&] {
    if (candidates_.size() <= count) return;
    std::ranges::nth_element(candidates_, candidates_.begin() + options_.top_k - 1, kBefore);
    candidates_.resize(count);
  };
  float least = -HUGE_VALF;  // what does not exceed it is not among them
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > least)) continue;
    candidates_.push_back({static_cast<int32_t>(i), logits[i], 0});
    if (candidates_.size() < room) continue;
    cut();
    least = candidates_.back().logit;
  }
  cut();
  std::ranges::sort(candidates_, kBefore);
}

// Those of `least` and more, in their order.
void Sampler::TakeFrom(std::span<const float> logits, double least) {
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= least) candidates_.push_back({static_cast<int32_t>(i), logits[i], 0});
  }
}

// The fewest likeliest that hold top_p of all weight.
void Sampler::KeepTopP() {
  double total = 0, held = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  // Of what weighs no more than this all together cannot hold the rest: none of it is among them.
  const double least = (1 - options_.top_p) * total / static_cast<double>(candidates_.size());
  const Candidate likeliest = *std::ranges::min_element(candidates_, kBefore);
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.weight < least; });
  std::ranges::sort(candidates_, kBefore);
  size_t kept = 0;
  while (kept < candidates_.size() && held < options_.top_p * total) held += candidates_[kept++].weight;
  candidates_.resize(kept);
  if (candidates_.empty()) candidates_.push_back(likeliest);
}

int32_t Sampler::Draw() {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  double place = static_cast<double>(random_() >> 11) * 0x1p-53 * total;
  for (const Candidate& candidate : candidates_) {
    place -= candidate.weight;
    if (place < 0) return candidate.id;
  }
  return candidates_.back().id;
}

int32_t Sampler::Choose(std::span<const float> logits, std::span<const int32_t> seen) {
  logits = Penalize(logits, seen);
  const float highest = GreatestLogit(logits);
  if (options_.temperature <= 0)
    return static_cast<int32_t>(std::ranges::find(logits, highest) - logits.begin());

  const double least = highest + options_.temperature * std::log(options_.min_p);  // -infinity for 0
  candidates_.clear();
  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(logits.size())) {
    TakeLikeliest(logits);
  } else {
    TakeFrom(logits, options_.top_p < 1 ? -HUGE_VAL : least);
  }
  for (Candidate& candidate : candidates_)
    candidate.weight = std::exp(static_cast<float>((candidate.logit - highest) / options_.temperature));
  if (options_.top_p < 1) KeepTopP();
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.logit < least; });
  return Draw();
}

}  // namespace gptq
