// How far one model's predictions are from another's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "workflow/compare_tokens.h"
#include "workflow/model_files.h"

namespace gptq {

struct CompareOptions {
  int64_t sequence_length = 2048;  // at most what both models can
  int64_t windows = 0;             // the first N; 0 = all
  // Safetensors file that keeps what A's blocks give, so that the next comparison with A on the same tokens
  // needs only its head; empty = none.
  std::filesystem::path reference_cache;
  int64_t worst_tokens = 10;  // how many are told
};

// Over all tokens that are predicted from tokens of their window. Divergences are Kullback-Leibler, sum of
// p_A log(p_A / p_B) over the vocabulary, in nats; standard errors take the tokens as independent.
struct CompareResult {
  double kl_mean = 0;
  double kl_standard_error = 0;  // of the mean
  double kl_median = 0;          // these three by the nearest-rank rule
  double kl_p99 = 0, kl_p999 = 0;
  double top1_agreement = 0;  // share of tokens whose most likely next token is the same
  double top5_agreement = 0;  // mean share of A's five most likely next tokens that are among B's five
  double perplexity_a = 0;    // protocol "gptq" of workflow/perplexity.h
  double perplexity_b = 0;
  double perplexity_a_standard_error = 0, perplexity_b_standard_error = 0;
  double perplexity_ratio = 0;  // B / A
  double perplexity_ratio_standard_error =
      0;               // the ratio times that of the mean difference of log-likelihoods
  int64_t tokens = 0;  // predicted
  int64_t windows = 0;
  int64_t sequence_length = 0;
  uint64_t text_hash = 0;  // of the whole text (base/hash.h)
  bool reference_from_cache = false;
  std::vector<WorstToken> worst_tokens;
  // Of each block's output h, the residual stream: the mean over tokens of |h_B - h_A| / |h_A|. A quotient of
  // sums would tell of the few tokens with very large states only (attention sinks). Empty where the models
  // have different shapes, or A's states come from the cache.
  std::vector<double> block_errors;
};

// Both models see the ids of A's tokenizer. Throws Error where the vocabularies differ in size or the
// tokenizers make different ids of its windows, where the text is shorter than one window, and for outputs
// that are not finite.
CompareResult CompareModels(ModelFiles& a, ModelFiles& b, Backend& backend, std::string_view text,
                            std::string_view text_name, const CompareOptions& options, Progress& progress);

}  // namespace gptq
