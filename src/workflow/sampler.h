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

// The same seed gives the same choices on every machine with the same logits.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {}
  // `seen`: all tokens so far, for the repeat penalty.
  int32_t Choose(std::span<const float> logits, std::span<const int32_t> seen);

 private:
  SamplingOptions options_;
  std::mt19937_64 random_;
};

}  // namespace gptq
