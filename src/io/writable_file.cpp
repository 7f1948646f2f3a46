#include "io/writable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "io/fault.h"
#include "io/mapped_file.h"

namespace gptq {
namespace {

// Linux moves at most this much in one call.
constexpr size_t kMaxCall = size_t{1} << 30;

std::string_view Advice(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return "free disk space or choose another place";
    case EFBIG:
      return "raise the limit on file sizes (ulimit -f) or use smaller shards";
    case EACCES:
    case EPERM:
    case EROFS:
      return "choose a place that can be written";
    case EEXIST:
      return "remove it or choose another name";
    default:
      return "check the path and its permissions";
  }
}

}  // namespace

void ThrowSystemError(std::string_view action, const std::filesystem::path& path, int error_number) {
  throw WriteError(Concat("cannot ", action, " (", std::generic_category().message(error_number), ")"),
                   path.string(), Advice(error_number));
}

void SyncFolder(const std::filesystem::path& folder) {
  if (FaultHere() != 0) return;
  const std::filesystem::path name = folder.empty() ? std::filesystem::path(".") : folder;
  const int descriptor = open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

WritableFile WritableFile::Make(const std::filesystem::path& path, int flags) {
  if (const int fault = FaultHere()) ThrowSystemError("make the file", path, fault);
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | flags, 0666);
  if (descriptor < 0) ThrowSystemError("make the file", path, errno);
  return {path, descriptor};
}

WritableFile WritableFile::Create(const std::filesystem::path& path) { return Make(path, O_EXCL); }

WritableFile WritableFile::Replace(const std::filesystem::path& path) { return Make(path, O_TRUNC); }

WritableFile WritableFile::Reopen(const std::filesystem::path& path) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) ThrowSystemError("open the file for writing", path, errno);
  return {path, descriptor};
}

WritableFile::WritableFile(std::filesystem::path path, int descriptor)
    : path_(std::move(path)), descriptor_(descriptor) {}

WritableFile::~WritableFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

WritableFile::WritableFile(WritableFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

WritableFile& WritableFile::operator=(WritableFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

int64_t WritableFile::size() const {
  struct stat status {};
  if (fstat(descriptor_, &status) != 0) ThrowSystemError("read the file's size", path_, errno);
  return static_cast<int64_t>(status.st_size);
}

void WritableFile::Preallocate(int64_t bytes) {
  if (bytes == 0) return;
  int result = FaultHere();
  while (result == 0 || result == EINTR) {
    result = posix_fallocate(descriptor_, 0, bytes);
    if (result == 0) return;
  }
  // Some file systems cannot reserve; there a full disk is found while writing.
  if (result != EOPNOTSUPP && result != EINVAL) {
    ThrowSystemError(Concat("reserve ", bytes, " bytes for the file"), path_, result);
  }
  if (ftruncate(descriptor_, bytes) != 0)
    ThrowSystemError(Concat("make the file ", bytes, " bytes long"), path_, errno);
}

void WritableFile::WriteAt(int64_t offset, std::span<const std::byte> bytes) {
  const Fault fault = NextFault();
  if (fault != Fault::kNone) {  // strikes when half is written
    WriteAll(offset, bytes.first(bytes.size() / 2));
    ThrowSystemError("write the file", path_, Strike(fault));
  }
  WriteAll(offset, bytes);
}

void WritableFile::WriteAll(int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(descriptor_, bytes.data(), std::min(bytes.size(), kMaxCall), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) ThrowSystemError("write the file", path_, written < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += written;
  }
}

void WritableFile::WriteAt(int64_t offset, std::string_view text) {
  WriteAt(offset, std::as_bytes(std::span<const char>(text)));
}

void WritableFile::ReadAt(int64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = pread(descriptor_, bytes.data(), std::min(bytes.size(), kMaxCall), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) ThrowSystemError("read the file", path_, errno);
    if (count == 0) throw Error("the file is too short", path_.string(), "write it again");
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += count;
  }
}

void WritableFile::Sync() {
  if (const int fault = FaultHere()) ThrowSystemError("write the file to the disk", path_, fault);
  // EINVAL: a file that cannot be synchronized, a device for example.
  if (fsync(descriptor_) != 0 && errno != EINVAL)
    ThrowSystemError("write the file to the disk", path_, errno);
}

void WritableFile::Close() {
  const int descriptor = std::exchange(descriptor_, -1);
  if (descriptor >= 0 && close(descriptor) != 0 && errno != EINTR)
    ThrowSystemError("close the file", path_, errno);
}

namespace {

void Fill(WritableFile& file, std::string_view content) {
  file.WriteAt(0, content);
  file.Sync();
  file.Close();
}

// What WriteFileAtOnce works on.
std::filesystem::path FreshPath(std::filesystem::path path) { return path += ".new"; }

}  // namespace

void WriteFile(const std::filesystem::path& path, std::string_view content) {
  WritableFile file = WritableFile::Replace(path);
  Fill(file, content);
}

void RenameFile(const std::filesystem::path& from, const std::filesystem::path& to) {
  int result = FaultHere();
  if (result == 0 && rename(from.c_str(), to.c_str()) != 0) result = errno;
  if (result != 0) ThrowSystemError(Concat("rename ", from.string()), to, result);
}

void WriteFileAtOnce(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path fresh = FreshPath(path);
  WritableFile file = WritableFile::Replace(fresh);
  try {
    Fill(file, content);
    RenameFile(fresh, path);
  } catch (...) {
    unlink(fresh.c_str());
    throw;
  }
  SyncFolder(path.parent_path());
}

void CheckCanWrite(const std::filesystem::path& path) {
  const std::filesystem::path fresh = FreshPath(path);
  WritableFile::Replace(fresh).Close();
  unlink(fresh.c_str());
}

void CopyFile(const std::filesystem::path& from, const std::filesystem::path& to) {
  constexpr int64_t kPiece = int64_t{1} << 24;  // more is never in memory
  const auto source = MappedFile::Open(from);
  WritableFile file = WritableFile::Replace(to);
  for (int64_t at = 0; at < source->size(); at += kPiece) {
    const int64_t count = std::min(kPiece, source->size() - at);
    file.WriteAt(at, {source->data() + at, static_cast<size_t>(count)});
    source->Release(source->data() + at, count);
  }
  file.Sync();
  file.Close();
}

}  // namespace gptq
