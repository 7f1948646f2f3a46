// Names from files of others, fit for an error message.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace gptq {

// In double quotes, cut after 120 bytes.
inline std::string Quoted(std::string_view name) {
  constexpr size_t kLongest = 120;
  return Concat('"', name.substr(0, kLongest), name.size() > kLongest ? "...\"" : "\"");
}

// FILE, tensor "NAME"
inline std::string WhereTensor(std::string_view file, std::string_view tensor) {
  return Concat(file, ", tensor ", Quoted(tensor));
}

}  // namespace gptq
