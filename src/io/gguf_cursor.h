// Reads the little-endian numbers and strings of a GGUF header, never past the end of the file. Internal to
// gguf*.cpp.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"
#include "io/mapped_file.h"

namespace gptq {

inline constexpr std::string_view kGgufDamaged = "the file is damaged or incomplete: fetch or write it again";

class GgufCursor {
 public:
  explicit GgufCursor(const MappedFile& file) : file_(file), path_(file.path().string()) {}

  const std::string& path() const { return path_; }
  int64_t position() const { return position_; }
  int64_t left() const { return file_.size() - position_; }

  // Throws Error when fewer bytes are left; `what` is read for the message.
  const std::byte* Take(int64_t bytes, std::string_view what) {
    if (bytes < 0 || bytes > left()) {
      throw Error(Concat("GGUF file ends inside ", what, " (byte ", position_, " of ", file_.size(), ")"),
                  path_, kGgufDamaged);
    }
    const std::byte* begin = file_.data() + position_;
    position_ += bytes;
    return begin;
  }

  template <typename Number>
  Number Read(std::string_view what) {
    static_assert(std::endian::native == std::endian::little, "big-endian machines need a byte swap here");
    Number number;
    std::memcpy(&number, Take(sizeof(Number), what), sizeof(Number));
    return number;
  }

  // A count or length that at most the rest of the file can hold, at `least_bytes` each.
  int64_t ReadCount(int64_t least_bytes, std::string_view what) {
    const auto count = Read<uint64_t>(what);
    if (count > static_cast<uint64_t>(left() / least_bytes)) {
      throw Error(Concat("GGUF file with ", what, " of ", count, ", more than it can hold"), path_,
                  kGgufDamaged);
    }
    return static_cast<int64_t>(count);
  }

  std::string ReadString(std::string_view what) {
    const int64_t length = ReadCount(1, what);
    const std::byte* text = Take(length, what);
    if (length == 0) return {};
    return {reinterpret_cast<const char*>(text), static_cast<size_t>(length)};
  }

 private:
  const MappedFile& file_;
  std::string path_;
  int64_t position_ = 0;
};

}  // namespace gptq
