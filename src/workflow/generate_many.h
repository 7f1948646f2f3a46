// Continuing many texts, several at a time: every weight is read once for all of them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "text/tokenizer.h"
#include "workflow/generate.h"

namespace gptq {

struct GenerateManyOptions {
  GenerateOptions each;
  int64_t together = 8;  // texts at a time; up to 8 each is what Generate gives for it alone
};

struct GenerateManyResult {
  std::vector<GenerateResult> texts;  // of the prompts, in their order; without speeds
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;  // of all texts together
};

struct Prompt {
  std::string text;
  std::string where;  // for messages: "FILE, line 3"
};

// Every text has its own sampler, from the same seed. Where one ends the next prompt takes its place. `step`
// is called after each token. Throws Error where a prompt does not fit into the decoder's longest sequence.
GenerateManyResult GenerateMany(const Decoder& decoder, const Tokenizer& tokenizer,
                                const std::vector<Prompt>& prompts, const GenerateManyOptions& options,
                                const std::function<void()>& step);

// A prompt a line, empty ones left out; of a file of rows (workflow/data_rows) the texts of their key
// "prompt". Throws Error naming file and line, and for a file without prompts.
std::vector<Prompt> ReadPrompts(const std::filesystem::path& path);

}  // namespace gptq
