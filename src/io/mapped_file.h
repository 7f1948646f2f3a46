// A file's bytes as read-only memory; a page is read from disk when it is first touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace gptq {

// Shared: views into it stay valid as long as one owner lives. A file that another program shortens meanwhile
// ends this one with a bus error; replacing it by renaming is harmless.
class MappedFile {
 public:
  // Throws Error when the path is not a regular file that can be read.
  static std::shared_ptr<const MappedFile> Open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const { return size_; }
  const std::byte* data() const { return data_; }
  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(size_)}; }

  // Gives the whole pages inside a range back to the system, so that they no longer count as this process's
  // memory; they are read again when touched again. Ranges outside the file are ignored.
  void Release(const std::byte* begin, int64_t length) const;

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, int64_t size);

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace gptq
