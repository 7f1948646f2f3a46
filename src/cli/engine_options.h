// --activation-bits and --kv-bits of the commands that run a model.
#pragma once

#include <CLI/CLI.hpp>

namespace gptq {

// `bits` holds the default.
void AddActivationBitsOption(CLI::App* command, int& bits);
void AddKvBitsOption(CLI::App* command, int& bits);

}  // namespace gptq
