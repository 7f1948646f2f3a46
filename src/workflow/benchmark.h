// How fast a model runs, beside what the machine can do in the same minute.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "compute/peak.h"
#include "model/decoder.h"

namespace gptq {

// Random weights of the shape of a config.
struct RandomWeights {
  int bits = 4;
  int64_t group_size = 128;  // -1: whole rows
  int head_bits = 16;        // 16: float16
};

struct SpeedOptions {
  int64_t prefill_tokens = 512;
  int64_t decode_tokens = 128;
  int64_t context_tokens = 0;  // in the cache before the first of them
  int64_t sequences = 1;       // decoded together, each of so many tokens
  int kv_bits = 16;            // of the cache: 8 or 16
};

struct Speed {
  MachinePeak peak;  // best of before and after
  double prefill_tokens_per_second = 0;
  double prefill_share_of_float_products = 0;  // multiply-adds of weights, over peak.gemm_flops_per_second
  double decode_tokens_per_second = 0;         // of all sequences together
  double kv_cache_bytes_per_token = 0;         // that a token in the cache takes
  // Read: of the weights a sequence's share, and its cache as it is half-way through the decoding.
  double bytes_per_token = 0;
  // On a machine that others use, too, only moments compare: what a few tokens reach of the bandwidth that
  // was measured just before and after them, the median of all.
  double decode_share_of_read_bandwidth = 0;
  double fastest_token_seconds = 0;  // of all sequences at once
  double fastest_token_share = 0;    // of peak.read_bandwidth_bytes_per_second, which is a best moment, too
};

// config.json of a shape: "llama-1b", "llama-7b", "smollm2-135m", or a file. Throws Error.
Json ShapeConfig(const std::string& name_or_file);
// The decoder of a config with random weights.
std::unique_ptr<Decoder> MakeRandomDecoder(const Json& config, const std::string& where,
                                           const RandomWeights& weights, Backend& backend,
                                           int64_t max_tokens);
// Best of three rounds each. `progress` is called between them.
Speed MeasureSpeed(const Decoder& decoder, const SpeedOptions& options,
                   const std::function<void()>& progress);

}  // namespace gptq
