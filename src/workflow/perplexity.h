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
  int64_t stride = 0;  // tokens from one window's start to the next one's; 0 = the windows' length
};

struct PerplexityResult {
  double perplexity = 0;
  double negative_log_likelihood = 0;    // mean, nats per predicted token
  double standard_error = 0;             // of that mean, from the tokens' spread
  double perplexity_standard_error = 0;  // to first order: the perplexity times that
  // What the predicted tokens cost, divided by the bytes and by the words (separated by white space) of the
  // text that they decode to. These can be compared between models of different tokenizers.
  double bits_per_byte = 0, bits_per_word = 0;
  int64_t tokens = 0;  // predicted
  int64_t bytes = 0, words = 0;
  int64_t windows = 0;
  int64_t sequence_length = 0, stride = 0;
  double seconds = 0;      // of the windows' runs
  double flops = 0;        // their multiplications and additions: linears, causal attention, head
  uint64_t text_hash = 0;  // of the whole text (base/hash.h): equal numbers are only to be had on equal texts
};

// "gptq" (arXiv 2210.17323 section 4): consecutive windows, tail dropped, mean over windows of the mean over
// the tokens 1.. of each. "llama.cpp": of each window only the second half counts, seen with the first half
// as context; the first token is replaced by BOS where the tokenizer adds one. With a `stride` below the
// windows' length these overlap, and of each only the tokens count that no window before it has predicted:
// all but the first `length` tokens see at least length - stride tokens. Throws Error where the text is
// shorter than one window, UsageError for a stride that leaves tokens out and for one with protocol
// "llama.cpp".
PerplexityResult MeasurePerplexity(const Decoder& decoder, const Tokenizer& tokenizer, std::string_view text,
                                   std::string_view text_name, const PerplexityOptions& options,
                                   Progress& progress);

// -log p of ids[t + 1] given ids[0 .. t] for t = first .. ids.size() - 2, in a single run of the decoder.
std::vector<double> TokenLosses(const Decoder& decoder, std::span<const int32_t> ids, int64_t first);

}  // namespace gptq
