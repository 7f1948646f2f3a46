#include "cli/activation_option.h"

namespace gptq {

void AddActivationBitsOption(CLI::App* command, int& bits) {
  command
      ->add_option("--activation-bits", bits,
                   "Inputs of quantized weights are rounded to: 8 (fastest), 16, or 32 = not at all")
      ->check(CLI::IsMember({8, 16, 32}))
      ->capture_default_str();
}

}  // namespace gptq
