// How well a model predicts a text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/progress.h"
#include "model/decoder.h"
#include "workflow/model_files.h"

namespace gptq {

struct PerplexityOptions {
  int64_t sequence_length = 2048;  // at most what the model can
  int64_t windows = 0;             // the first N; 0 = all
  std::string protocol = "gptq";   // or "llama.cpp"
};

struct PerplexityResult {
  double perplexity = 0;
  double negative_log_likelihood = 0;  // mean, nats per predicted token
  double standard_error = 0;           // of that mean, from the tokens' spread
  int64_t tokens = 0;                  // predicted
  int64_t windows = 0;
  int64_t sequence_length = 0;
};

// "gptq" (arXiv 2210.17323 section 4): consecutive windows, tail dropped, mean over windows of the mean over
// the tokens 1.. of each. "llama.cpp": of each window only the second half counts, seen with the first half
// as context; the first token is replaced by BOS where the tokenizer adds one. Throws Error where the text is
// shorter than one window.
PerplexityResult MeasurePerplexity(const Decoder& decoder, const Tokenizer& tokenizer, std::string_view text,
                                   std::string_view text_name, const PerplexityOptions& options,
                                   Progress& progress);

// -log p of ids[t + 1] given ids[0 .. t] for t = first .. ids.size() - 2, in a single run of the decoder.
std::vector<double> TokenLosses(const Decoder& decoder, std::span<const int32_t> ids, int64_t first);

}  // namespace gptq
