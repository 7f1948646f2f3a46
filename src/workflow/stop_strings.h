// Ending a text where one of some strings appears.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gptq {

// Takes a text piece by piece and lets through what stands before the first stop string. What could be the
// beginning of one is held back until more is known.
class StopStrings {
 public:
  // None of them empty.
  explicit StopStrings(std::vector<std::string> strings);

  // What may be shown now. Nothing after a stop string was found.
  std::string Next(std::string_view piece);
  // What was held back at the end of the text.
  std::string Finish();
  bool found() const { return found_; }

 private:
  std::vector<std::string> strings_;
  std::string pending_;
  bool found_ = false;
};

}  // namespace gptq
