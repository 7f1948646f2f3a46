// The options of writing text that `generate` and `chat` share.
#pragma once

#include <CLI/CLI.hpp>

#include "workflow/generate.h"

namespace gptq {

void AddGenerateOptions(CLI::App* command, GenerateOptions& options);

}  // namespace gptq
