#include "cli/context_option.h"

#include <algorithm>

namespace gptq {

int64_t ContextFor(const ModelFiles& model, int64_t tokens, const CLI::Option& option) {
  const int64_t most = model.spec().max_positions;
  if (option.count() > 0 && tokens > most) {
    throw Error(Concat("the model takes at most ", most, " tokens at a time, not ", tokens),
                model.reader().path().string(), Concat("give a smaller ", option.get_name()));
  }
  return std::min(tokens, most);
}

}  // namespace gptq
