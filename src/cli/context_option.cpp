#include "cli/context_option.h"

#include "workflow/sequence_length.h"

namespace gptq {

int64_t ContextFor(const ModelFiles& model, int64_t tokens, const CLI::Option& option) {
  return SequenceLength(model, option.count() > 0 ? std::optional(tokens) : std::nullopt, tokens,
                        option.get_name());
}

}  // namespace gptq
