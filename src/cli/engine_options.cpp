#include "cli/engine_options.h"

namespace gptq {

void AddActivationBitsOption(CLI::App* command, int& bits) {
  command
      ->add_option("--activation-bits", bits,
                   "Inputs of quantized weights are rounded to: 8 (fastest), 16, or 32 = not at all")
      ->check(CLI::IsMember({8, 16, 32}))
      ->capture_default_str();
}

void AddKvBitsOption(CLI::App* command, int& bits) {
  command
      ->add_option("--kv-bits", bits,
                   "Keys and values of the tokens seen are kept in: 16, or 8 (half the memory)")
      ->check(CLI::IsMember({8, 16}))
      ->capture_default_str();
}

}  // namespace gptq
