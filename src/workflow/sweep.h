// One model in many settings: what each of them costs and loses.
#pragma once

#include <gptq/options.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "compute/backend.h"

namespace gptq {

struct SweepOptions {
  std::filesystem::path model;
  std::filesystem::path output;      // a folder: results, and unfinished work
  ModelOptions given;                // of all settings; method, bits and group size come from these:
  std::vector<std::string> methods;  // each goes with each number of bits and each group size
  std::vector<double> bits;
  std::vector<int64_t> group_sizes;

  std::vector<std::filesystem::path> texts;  // for perplexity and divergence
  std::vector<std::pair<std::string, std::filesystem::path>>
      tasks;                               // names and data of zero-shot tasks, bias sets
  std::optional<int64_t> sequence_length;  // of the texts' windows; default 2048, or what the model takes
  int64_t windows = 0;                     // of each text the first N; 0 = all
  int64_t examples = 0;                    // of each task the first N; 0 = all
  bool keep_models = false;                // in the output folder, under the settings' names
};

// Lines of OUTPUT/results.jsonl, one JSON object a setting, the model as it is first: name, method, bits,
// group_size, bits_per_weight, bytes, relative_error (mean of the linears'), texts[] (keys of gptq compare),
// tasks[] (keys of gptq evaluate). Each is written when it is known: the same call goes on from there, and
// one with other bits, group sizes or methods adds to it. The unquantized model runs once over each text.
// Throws what Quantize and CompareModels do, and Error where the folder holds something else or a sweep of
// other settings, and for sequences longer than the model takes.
std::vector<Json> Sweep(const SweepOptions& options, Backend& backend, Progress& progress);

}  // namespace gptq
