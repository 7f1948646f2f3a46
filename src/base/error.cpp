#include "base/error.h"

#include <cstdio>
#include <cstdlib>

namespace gptq {
namespace {

std::string OneLine(std::string_view what, std::string_view where, std::string_view what_to_do) {
  std::string line(what);
  for (std::string_view part : {where, what_to_do}) {
    if (part.empty()) continue;
    if (!line.empty()) line += ", ";
    line += part;
  }
  // Names inside files of others may hold anything; the message stays one printable line.
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return line;
}

}  // namespace

Error::Error(std::string_view what, std::string_view where, std::string_view what_to_do)
    : std::runtime_error(OneLine(what, where, what_to_do)) {}

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "gptq: internal error: CHECK(%s) failed at %s:%d; please report it\n", condition, file,
               line);
  std::abort();
}

}  // namespace gptq
