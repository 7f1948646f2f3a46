// How failures are reported. Bad input throws Error; our own bugs stop the program through CHECK.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace gptq {

// Bad input or an impossible machine: says what is wrong, where (file, tensor, key), and what to do about it.
// Thrown by library code, caught once in the command line's main (and in a server's request handler).
class Error : public std::runtime_error {
 public:
  Error(std::string_view what, std::string_view where, std::string_view what_to_do);
};

// Wrong use of the command line (exit code 2).
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The user asked to stop (exit code 130).
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Concatenates the printed forms of its arguments.
template <typename... Parts>
std::string Concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);

}  // namespace gptq

// An invariant of our own code. Never for input.
#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) ::gptq::CheckFailed(#condition, __FILE__, __LINE__); \
  } while (false)
