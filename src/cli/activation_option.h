// --activation-bits of the commands that run a model.
#pragma once

#include <CLI/CLI.hpp>

namespace gptq {

// `bits` holds the default.
void AddActivationBitsOption(CLI::App* command, int& bits);

}  // namespace gptq
