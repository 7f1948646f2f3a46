// Calibration tokens: from a text, from documents, as they are, or the built-in set.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "text/tokenizer.h"

namespace gptq {

struct CalibrationOptions {
  std::filesystem::path file;  // .txt, .jsonl, .safetensors; empty = the built-in documents
  int64_t samples = 128;
  std::optional<int64_t> sequence_length;  // default: kUsualSequenceLength, or what the model takes
  uint64_t seed = 0;
  int64_t sink_sequences = 512;  // see CalibrationSet::sinks
};

struct CalibrationSet {
  int64_t samples = 0;
  int64_t tokens_per_sample = 0;
  std::vector<int32_t> ids;  // [samples, tokens_per_sample]
  // Extra sequences of one token each, drawn from `ids`. The first position of a sequence is the attention
  // sink that all later tokens look at, yet in H it is one token of thousands: docs/algorithm.md.
  std::vector<int32_t> sinks;

  int64_t tokens() const { return samples * tokens_per_sample; }  // without the sinks
};

// .safetensors: `input_ids` int32 [samples, tokens], used as they are. .txt: one text, cut into windows of
// which `samples` are drawn. .jsonl: from each document of at least one window a random window (the papers'
// way); where these do not suffice, windows of the other documents joined. A document is a `text`, or
// `messages` (and `tools`) for the model's chat template. Fewer samples than asked for are
// noted; none is an Error, and so is an id outside the vocabulary. `tokenizer` may be null for .safetensors.
CalibrationSet LoadCalibration(const CalibrationOptions& options, const Tokenizer* tokenizer,
                               int64_t vocabulary, Progress& progress);

// For models that guess masked tokens: of each sample a random share of the tokens, drawn anew from 0 to 1,
// gives way to `mask_token`, as in their training (arXiv 2502.09992, algorithm 1). Samples that have such
// tokens already stay as they are.
void MaskTokens(int32_t mask_token, uint64_t seed, CalibrationSet& set);

// JSON lines with the built-in documents (data/calibration/README.md).
std::string_view BuiltInCalibrationDocuments();

}  // namespace gptq
