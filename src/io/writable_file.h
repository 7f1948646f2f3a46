// A file that is being written: errors name it, a full disk is found early.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "base/error.h"

namespace gptq {

// What the machine refused and may grant later: a full disk, a quota, a permission.
class WriteError : public Error {
 public:
  using Error::Error;
};

// Closed by Close() or, without looking at errors, by the destructor. Not for several threads at a time. Its
// failures are WriteErrors.
class WritableFile {
 public:
  // Throws Error when the file exists already or cannot be made.
  static WritableFile Create(const std::filesystem::path& path);
  // A new file, or an existing one emptied.
  static WritableFile Replace(const std::filesystem::path& path);
  // An existing file, its content kept, for reading and writing.
  static WritableFile Reopen(const std::filesystem::path& path);
  ~WritableFile();
  WritableFile(WritableFile&& other) noexcept;
  WritableFile& operator=(WritableFile&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const;

  // Reserves disk space for `bytes` and makes the file that long, or throws Error.
  void Preallocate(int64_t bytes);
  void WriteAt(int64_t offset, std::span<const std::byte> bytes);
  void WriteAt(int64_t offset, std::string_view text);
  // Throws Error when the file ends before.
  void ReadAt(int64_t offset, std::span<std::byte> bytes) const;
  void Sync();   // all bytes are on the disk when it returns
  void Close();  // errors found only now are thrown

 private:
  WritableFile(std::filesystem::path path, int descriptor);
  static WritableFile Make(const std::filesystem::path& path, int flags);
  void WriteAll(int64_t offset, std::span<const std::byte> bytes);

  std::filesystem::path path_;
  int descriptor_ = -1;
};

// A whole file, replaced if it exists, on the disk when it returns. Errors name it.
void WriteFile(const std::filesystem::path& path, std::string_view content);
void CopyFile(const std::filesystem::path& from, const std::filesystem::path& to);
// The same in one step: whatever happens, the path holds the old content or the new one. Works on PATH.new,
// which is gone when it throws.
void WriteFileAtOnce(const std::filesystem::path& path, std::string_view content);
// Throws what WriteFileAtOnce would, but for a full disk.
void CheckCanWrite(const std::filesystem::path& path);
void RenameFile(const std::filesystem::path& from, const std::filesystem::path& to);

// A WriteError with the reason and the advice for a failed system call: "cannot write the file (No space left
// on device), PATH, free ...".
[[noreturn]] void ThrowSystemError(std::string_view action, const std::filesystem::path& path,
                                   int error_number);

// Makes the names inside a folder (new, renamed, removed files) last. Errors are ignored: not every file
// system can.
void SyncFolder(const std::filesystem::path& folder);

}  // namespace gptq
