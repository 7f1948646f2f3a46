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
                           int64_t windows, int64_t stride) {
  if (length < 2) throw UsageError("--sequence-length must be at least 2");
  if (stride == 0) stride = length;
  if (stride < 1 || stride > length)
    throw UsageError(Concat("--stride ", stride, ": must be from 1 to the windows' length, ", length));
  const auto tokens = static_cast<int64_t>(ids.size());
  if (tokens < length) {
    throw Error(Concat("the text has ", tokens, " tokens, one window needs ", length), text_name,
                "give a longer text or a smaller --sequence-length");
  }
  const int64_t available = (tokens - length) / stride + 1;
  const int64_t count = windows == 0 ? available : std::min(windows, available);
  ids.resize(static_cast<size_t>((count - 1) * stride + length));
  return {std::move(ids), length, count, stride};
}

void NoteMissingWindows(const TextWindows& windows, int64_t asked, std::string_view text_name,
                        Progress& progress) {
  if (windows.count >= asked) return;
  progress.Note(Concat(text_name, " gives ", windows.count, " windows of ", windows.length, " tokens, ",
                       asked, " were asked for"));
}

}  // namespace gptq
