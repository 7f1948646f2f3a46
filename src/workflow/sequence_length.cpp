#include "workflow/sequence_length.h"

#include <algorithm>

#include "base/error.h"

namespace gptq {

int64_t SequenceLength(const ModelFiles& model, std::optional<int64_t> asked, int64_t usual,
                       std::string_view option) {
  const int64_t most = model.spec().max_positions;
  if (asked && *asked > most) {
    throw Error(Concat("the model takes at most ", most, " tokens at a time, not ", *asked),
                model.reader().path().string(), Concat("give a smaller ", option));
  }
  return asked.value_or(std::min(usual, most));
}

int64_t UsualSequenceLength(const ModelFiles& model, std::optional<int64_t> asked, std::string_view option,
                            Progress& progress) {
  const int64_t length = SequenceLength(model, asked, kUsualSequenceLength, option);
  if (!asked && length < kUsualSequenceLength)
    progress.Note(Concat(option, " ", length, ", as the model takes no more"));
  return length;
}

}  // namespace gptq
