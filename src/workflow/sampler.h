// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace gptq {

struct SamplingOptions {
  double temperature = 0.8;     // 0 = the likeliest token
  int64_t top_k = 0;            // 0 = all
  double top_p = 1.0;           // smallest set of likeliest tokens with this much probability
  double min_p = 0.0;           // tokens at least this likely, relative to the likeliest
  double repeat_penalty = 1.0;  // > 1 makes tokens already seen less likely (CTRL, arXiv 1909.05858)
  uint64_t seed = 0;
};

// The same seed gives the same choices on every machine with the same logits. A choice goes through the
// logits a few times, sorts none but the few that cuts leave, and allocates nothing once it has seen as many.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {}
  // `logits`: finite. `seen`: all tokens so far, for the repeat penalty.
  int32_t Choose(std::span<const float> logits, std::span<const int32_t> seen);

 private:
  struct Candidate {
    int32_t id;
    float logit;
    double weight;  // its probability, but for a factor
  };
  std::span<const float> Penalize(std::span<const float> logits, std::span<const int32_t> seen);
  void TakeLikeliest(std::span<const float> logits);
  void TakeFrom(std::span<const float> logits, double least);
  void KeepTopP();
  int32_t Draw();

  SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<Candidate> candidates_;
  std::vector<float> penalized_;
  std::vector<bool> was_seen_;
};

}  // namespace gptq
