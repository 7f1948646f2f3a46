// How many tokens a sequence has.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/progress.h"
#include "workflow/model_files.h"

namespace gptq {

constexpr int64_t kUsualSequenceLength = 2048;

// What is asked for, or else the shorter of `usual` and what the model takes at a time. Throws Error naming
// `option` where more is asked for than the model takes.
int64_t SequenceLength(const ModelFiles& model, std::optional<int64_t> asked, int64_t usual,
                       std::string_view option);

// With kUsualSequenceLength; notes where the model takes less and nothing is asked for.
int64_t UsualSequenceLength(const ModelFiles& model, std::optional<int64_t> asked, std::string_view option,
                            Progress& progress);

}  // namespace gptq
