// Outputs that appear only when complete: work happens in PATH.partial, which is renamed at the end.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace gptq {

// What to do with a PATH.partial that an earlier run left behind.
enum class Leftover { kRemove, kContinue };

// The common part of OutputFolder and OutputFile. While it lives, no other process can claim the same output.
class PendingOutput {
 public:
  enum class Kind { kFolder, kFile };

  // Error when the path exists (unless `overwrite`; then it must be of the same kind), when its parent does
  // not exist or cannot be written, or when another process is at work on it. For kFile the partial file is
  // made empty. `content`: the output is the folder or file of this name inside the partial one, which may
  // hold other things beside it; they go at the end (a file is not made). Empty: the partial output itself.
  PendingOutput(const std::filesystem::path& path, Kind kind, bool overwrite, Leftover leftover,
                const std::string& content = {});
  // Without Commit and without Keep, the partial output is deleted.
  ~PendingOutput();
  PendingOutput(const PendingOutput&) = delete;
  PendingOutput& operator=(const PendingOutput&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& partial() const { return partial_; }
  const std::filesystem::path& content() const { return content_; }  // write here
  bool continued() const { return continued_; }  // an earlier run's partial output was there and is kept
  void Empty();                                  // deletes all work so far, an earlier run's too

  // The destructor leaves the partial output (or not), to go on from it later.
  void Keep(bool keep = true) { keep_ = keep; }
  // Puts the output in its place at once; what it replaces is deleted only then. Error when something has
  // appeared at the path meanwhile, or the disk refuses; the partial output is kept then.
  void Commit();

 private:
  bool partial_is_folder() const { return kind_ == Kind::kFolder || content_ != partial_; }
  void CheckTarget() const;
  void Claim(Leftover leftover);
  bool TryLock();
  void MakeContent() const;
  void MoveIntoPlace();
  void ReplaceTarget();
  void Discard(const std::filesystem::path& old) const;

  std::filesystem::path path_;
  std::filesystem::path partial_;
  std::filesystem::path content_;  // what gets the path's name in the end
  Kind kind_;
  bool overwrite_;
  bool continued_ = false;
  bool keep_ = false;
  bool committed_ = false;
  int lock_ = -1;
};

class OutputFolder : public PendingOutput {
 public:
  OutputFolder(const std::filesystem::path& path, bool overwrite, Leftover leftover = Leftover::kRemove,
               const std::string& content = {})
      : PendingOutput(path, Kind::kFolder, overwrite, leftover, content) {}
  const std::filesystem::path& folder() const { return content(); }  // write here
};

class OutputFile : public PendingOutput {
 public:
  OutputFile(const std::filesystem::path& path, bool overwrite, Leftover leftover = Leftover::kRemove)
      : PendingOutput(path, Kind::kFile, overwrite, leftover) {}
  const std::filesystem::path& file() const { return content(); }  // write here: it exists, empty
};

// PATH.partial for a PATH. Error when the path has no usable last part ("", "..", "/").
std::filesystem::path PartialPath(const std::filesystem::path& path);

}  // namespace gptq
