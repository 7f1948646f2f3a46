#include "workflow/stop_strings.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace gptq {
namespace {

// Bytes at the end of `text` that `string` begins with, but not all of it.
size_t BegunAtEnd(std::string_view text, std::string_view string) {
  size_t length = std::min(text.size(), string.size() - 1);
  while (!text.ends_with(string.substr(0, length))) --length;
  return length;
}

}  // namespace

StopStrings::StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
  for (const std::string& string : strings_) CHECK(!string.empty());
}

std::string StopStrings::Next(std::string_view piece) {
  if (found_) return "";
  pending_ += piece;
  size_t end = std::string::npos, held = 0;
  for (const std::string& string : strings_) {
    end = std::min(end, pending_.find(string));
    held = std::max(held, BegunAtEnd(pending_, string));
  }
  found_ = end != std::string::npos;
  std::string shown = pending_.substr(0, found_ ? end : pending_.size() - held);
  pending_.erase(0, found_ ? pending_.size() : shown.size());
  return shown;
}

std::string StopStrings::Finish() { return std::exchange(pending_, ""); }

}  // namespace gptq
