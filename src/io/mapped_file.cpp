#include "io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <system_error>

#include "base/error.h"

namespace gptq {
namespace {

struct Descriptor {
  int number = -1;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

[[noreturn]] void ThrowCannot(std::string_view what, const std::filesystem::path& path, int error_number) {
  throw Error(Concat("cannot ", what, " (", std::generic_category().message(error_number), ")"),
              path.string(), "check the path and its permissions");
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0) ThrowCannot("open the file", path, errno);
  struct stat status {};
  if (fstat(file.number, &status) != 0) ThrowCannot("read the file's size", path, errno);
  if (!S_ISREG(status.st_mode)) throw Error("not a regular file", path.string(), "give a file");
  const auto size = static_cast<int64_t>(status.st_size);
  const void* data = nullptr;
  if (size > 0) {
    data = mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_PRIVATE, file.number, 0);
    if (data == MAP_FAILED) ThrowCannot("map the file into memory", path, errno);
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const std::byte*>(data), size));
}

MappedFile::MappedFile(std::filesystem::path path, const std::byte* data, int64_t size)
    : path_(std::move(path)), data_(data), size_(size) {}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_));
}

void MappedFile::Release(const std::byte* begin, int64_t length) const {
  const std::less<const std::byte*> before;
  if (data_ == nullptr || length <= 0 || before(begin, data_) || before(data_ + size_, begin)) return;
  const int64_t offset = begin - data_;
  if (length > size_ - offset) return;
  const auto page = static_cast<int64_t>(sysconf(_SC_PAGESIZE));
  const int64_t first = (offset + page - 1) / page * page;
  const int64_t last = offset + length == size_ ? size_ : (offset + length) / page * page;
  if (first >= last) return;
  madvise(const_cast<std::byte*>(data_ + first), static_cast<size_t>(last - first), MADV_DONTNEED);
}

}  // namespace gptq
