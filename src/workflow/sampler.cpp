#include "workflow/sampler.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace gptq {
namespace {

struct Candidate {
  int32_t id;
  double value;  // logit, then probability
};

// Likeliest first; equal ones by id, so that the choice does not depend on the sort.
bool Before(const Candidate& a, const Candidate& b) {
  return a.value != b.value ? a.value > b.value : a.id < b.id;
}

void Penalize(std::vector<Candidate>* candidates, std::span<const int32_t> seen, double penalty) {
  if (penalty == 1.0) return;
  for (const int32_t id : std::set<int32_t>(seen.begin(), seen.end())) {
    double& logit = (*candidates)[static_cast<size_t>(id)].value;
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

}  // namespace

int32_t Sampler::Choose(std::span<const float> logits, std::span<const int32_t> seen) {
  std::vector<Candidate> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    candidates[i] = {static_cast<int32_t>(i), static_cast<double>(logits[i])};
  Penalize(&candidates, seen, options_.repeat_penalty);
  if (options_.temperature <= 0) return std::ranges::min_element(candidates, Before)->id;

  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(candidates.size())) {
    std::ranges::nth_element(candidates, candidates.begin() + options_.top_k, Before);
    candidates.resize(static_cast<size_t>(options_.top_k));
  }
  std::ranges::sort(candidates, Before);
  const double highest = candidates.front().value;
  double total = 0;
  for (Candidate& candidate : candidates)
    total += candidate.value = std::exp((candidate.value - highest) / options_.temperature);

  // Cut the tail: what is too unlikely beside the first, then what lies past top_p of the whole.
  size_t kept = 0;
  double mass = 0;
  const auto keeps = [&](const Candidate& next) {
    return next.value >= options_.min_p && mass < options_.top_p * total;
  };
  while (kept < candidates.size() && (kept == 0 || keeps(candidates[kept]))) {
    mass += candidates[kept++].value;
  }
  double place = static_cast<double>(random_() >> 11) * 0x1p-53 * mass;
  for (size_t i = 0; i + 1 < kept; ++i) {
    place -= candidates[i].value;
    if (place < 0) return candidates[i].id;
  }
  return candidates[kept - 1].id;
}

}  // namespace gptq
