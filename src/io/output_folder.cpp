#include "io/output_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "io/fault.h"
#include "io/writable_file.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

fs::path WithoutTrailingSlash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

fs::path ParentOf(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

// Something is there, be it a broken link.
bool Exists(const fs::path& path) {
  std::error_code code;
  return fs::exists(fs::symlink_status(path, code));
}

// renameat2: 0 or the error number, EINVAL or ENOSYS where the file system cannot.
int RenameWithFlags(const fs::path& from, const fs::path& to, unsigned flags) {
  if (const int fault = FaultHere()) return fault;
  return renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

bool IsUnsupported(int error_number) { return error_number == EINVAL || error_number == ENOSYS; }

int Rename(const fs::path& from, const fs::path& to) {
  return rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

int RenameToNew(const fs::path& from, const fs::path& to) {
  const int result = RenameWithFlags(from, to, RENAME_NOREPLACE);
  if (!IsUnsupported(result)) return result;
  return Exists(to) ? EEXIST : Rename(from, to);
}

// Errors in `code`, an absent path is none.
void RemoveTree(const fs::path& path, std::error_code& code) {
  if (const int fault = FaultHere()) {
    code = std::error_code(fault, std::generic_category());
  } else {
    fs::remove_all(path, code);
  }
}

}  // namespace

fs::path PartialPath(const fs::path& path) {
  const fs::path name = WithoutTrailingSlash(path).filename();
  if (name.empty() || name == "." || name == "..") {
    throw Error("an output path without a name of its own", path.string(), "name a new file or folder");
  }
  fs::path partial = WithoutTrailingSlash(path);
  partial += ".partial";
  return partial;
}

PendingOutput::PendingOutput(const fs::path& path, Kind kind, bool overwrite, Leftover leftover,
                             const std::string& content)
    : path_(WithoutTrailingSlash(path)),
      partial_(PartialPath(path)),
      content_(content.empty() ? partial_ : partial_ / content),
      kind_(kind),
      overwrite_(overwrite) {
  CheckTarget();
  try {
    Claim(leftover);
  } catch (...) {
    if (lock_ >= 0) close(lock_);
    throw;
  }
}

void PendingOutput::CheckTarget() const {
  const fs::path parent = ParentOf(path_);
  std::error_code code;
  if (!fs::is_directory(parent, code)) {
    throw Error(Concat("the folder ", parent.string(), " does not exist"), path_.string(), "make it first");
  }
  if (access(parent.c_str(), W_OK | X_OK) != 0) ThrowSystemError("write into the folder", parent, errno);
  if (!Exists(path_)) return;
  if (!overwrite_) {
    throw Error("the output exists already", path_.string(), "choose another path or add --overwrite");
  }
  if (kind_ == Kind::kFolder && !fs::is_directory(path_, code)) {
    throw Error("the output is to be a folder, but a file is there", path_.string(), "choose another path");
  }
  if (kind_ == Kind::kFile && !fs::is_regular_file(path_, code)) {
    throw Error("the output is to be a file, but something else is there", path_.string(),
                "choose another path");
  }
}

// Makes the partial output, or takes over that of an earlier run, and locks it.
void PendingOutput::Claim(Leftover leftover) {
  bool fresh = false;
  do {
    if (const int fault = FaultHere()) ThrowSystemError("make the unfinished output", partial_, fault);
    if (partial_is_folder()) {
      fresh = mkdir(partial_.c_str(), 0777) == 0;
      if (!fresh && errno != EEXIST) ThrowSystemError("make the folder", partial_, errno);
      lock_ = open(partial_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    } else {
      lock_ = open(partial_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      fresh = lock_ >= 0;
      if (!fresh) {
        if (errno != EEXIST)
          ThrowSystemError("make the file", partial_, errno);  // also a folder without files, like /proc
        lock_ = open(partial_.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
      }
    }
    if (lock_ < 0 && errno != ENOENT)
      ThrowSystemError("use what is there for unfinished output", partial_, errno);
  } while (lock_ < 0 || !TryLock());
  continued_ = !fresh && leftover == Leftover::kContinue;
  if (!fresh && !continued_) {
    Empty();
  } else {
    try {
      MakeContent();
    } catch (...) {
      if (fresh) rmdir(partial_.c_str());
      throw;
    }
  }
}

void PendingOutput::MakeContent() const {
  if (content_ == partial_ || kind_ == Kind::kFile) return;
  int result = FaultHere();
  if (result == 0 && mkdir(content_.c_str(), 0777) != 0 && errno != EEXIST) result = errno;
  if (result != 0) ThrowSystemError("make the folder", content_, result);
}

// False when what was locked has meanwhile been renamed or deleted by its owner.
bool PendingOutput::TryLock() {
  // File systems that cannot lock are used without.
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw Error("another process is writing this output", partial_.string(),
                "wait for it or choose another path");
  }
  struct stat locked {
  }, named{};
  if (fstat(lock_, &locked) == 0 && lstat(partial_.c_str(), &named) == 0 && locked.st_dev == named.st_dev &&
      locked.st_ino == named.st_ino) {
    return true;
  }
  close(lock_);
  lock_ = -1;
  return false;
}

void PendingOutput::Empty() {
  if (!partial_is_folder()) {
    if (ftruncate(lock_, 0) != 0) ThrowSystemError("empty the unfinished output", partial_, errno);
    return;
  }
  std::error_code code;
  for (fs::directory_iterator entry(partial_, code), end; !code && entry != end; entry.increment(code)) {
    RemoveTree(entry->path(), code);
    if (code) break;
  }
  if (code) ThrowSystemError("remove the unfinished output of an earlier run", partial_, code.value());
  continued_ = false;
  MakeContent();
}

PendingOutput::~PendingOutput() {
  if (!committed_ && !keep_) {
    std::error_code ignored;
    RemoveTree(partial_, ignored);
  }
  if (lock_ >= 0) close(lock_);
}

void PendingOutput::Commit() {
  CHECK(!committed_);
  try {
    MoveIntoPlace();
  } catch (...) {
    keep_ = true;  // finished work is not thrown away because it cannot be renamed
    throw;
  }
}

void PendingOutput::MoveIntoPlace() {
  if (kind_ == Kind::kFolder) SyncFolder(content_);
  const int result = RenameToNew(content_, path_);
  if (result == EEXIST && overwrite_) {
    ReplaceTarget();
  } else if (result == EEXIST) {
    throw Error(Concat("something has appeared at the output path; the finished output is kept as ",
                       content_.string()),
                path_.string(), "move one of them away");
  } else if (result != 0) {
    ThrowSystemError(Concat("rename ", content_.string(), " to its final name"), path_, result);
  }
  committed_ = true;
  SyncFolder(ParentOf(path_));
  if (content_ != partial_) Discard(partial_);
}

// The output is in place; this goes.
void PendingOutput::Discard(const fs::path& old) const {
  std::error_code code;
  RemoveTree(old, code);
  if (!code) return;
  throw Error(
      Concat("the output is complete, but what is no longer needed cannot be deleted (", code.message(), ")"),
      old.string(), "delete it");
}

// Old and new change places in one step where the file system can; the old one is then deleted under the
// other name.
void PendingOutput::ReplaceTarget() {
  fs::path old = content_;
  int result = RenameWithFlags(content_, path_, RENAME_EXCHANGE);
  if (IsUnsupported(result)) {
    old = path_;
    old += ".replaced";
    result = RenameToNew(path_, old);
    if (result == 0) {
      result = Rename(content_, path_);
      if (result != 0) Rename(old, path_);
    }
  }
  if (result != 0) ThrowSystemError(Concat("put ", content_.string(), " in the place of"), path_, result);
  committed_ = true;
  Discard(old);
}

}  // namespace gptq
