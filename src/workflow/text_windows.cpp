#include "workflow/text_windows.h"

#include <algorithm>

#include "base/error.h"

namespace gptq {

std::vector<int32_t> TokenizeText(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids = tokenizer.TemplateBefore();
  const std::vector<int32_t> encoded = tokenizer.Encode(text);
  ids.insert(ids.end(), encoded.begin(), encoded.end());
  return ids;
}

TextWindows CutIntoWindows(std::vector<int32_t> ids, std::string_view text_name, int64_t length,
                           int64_t windows) {
  if (length < 2) throw UsageError("--sequence-length must be at least 2");
  const int64_t available = static_cast<int64_t>(ids.size()) / length;
  if (available == 0) {
    throw Error(Concat("the text has ", ids.size(), " tokens, one window needs ", length), text_name,
                "give a longer text or a smaller --sequence-length");
  }
  const int64_t count = windows == 0 ? available : std::min(windows, available);
  ids.resize(static_cast<size_t>(count * length));
  return {std::move(ids), length, count};
}

}  // namespace gptq
