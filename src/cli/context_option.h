// Options that ask for a number of tokens at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

#include "workflow/model_files.h"

namespace gptq {

// The shorter of `tokens` and what the model takes at a time; throws Error where the option that asks for the
// tokens was given, and asks for more. Its default is for all models.
int64_t ContextFor(const ModelFiles& model, int64_t tokens, const CLI::Option& option);

}  // namespace gptq
