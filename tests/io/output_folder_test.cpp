#include "io/output_folder.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "io/checkpoint_writer.h"
#include "io/writable_file.h"
#include "tests/io/file_builders.h"
#include "tests/test_util.h"

namespace gptq {
namespace output_folder_test {

namespace fs = std::filesystem;

class Output : public ::testing::Test {
 protected:
  fs::path Path(const std::string& name) const { return folder_.path() / name; }

 private:
  TemporaryFolder folder_;
};

TEST_F(Output, AppearsWhenCommitted) {
  {
    OutputFolder output(Path("out"), false);
    EXPECT_EQ(output.folder(), Path("out.partial"));
    WriteFile(output.folder() / "config.json", "{}");
    EXPECT_FALSE(fs::exists(Path("out")));
    output.Commit();
  }
  EXPECT_EQ(Slurp(Path("out/config.json")), "{}");
  EXPECT_FALSE(fs::exists(Path("out.partial")));
  {
    OutputFile output(Path("file"), false);
    WriteFile(output.file(), "content");
    output.Commit();
  }
  EXPECT_EQ(Slurp(Path("file")), "content");
  EXPECT_FALSE(fs::exists(Path("file.partial")));
}

TEST_F(Output, LeavesNothingWhenWorkFails) {
  try {
    OutputFolder folder(Path("out"), false);
    OutputFile file(Path("file"), false);
    WriteFile(folder.folder() / "half", "done");
    throw std::runtime_error("work failed");
  } catch (const std::runtime_error&) {
  }
  for (const char* name : {"out", "out.partial", "file", "file.partial"})
    EXPECT_FALSE(fs::exists(Path(name))) << name;
}

TEST_F(Output, AcceptsATrailingSlash) {
  OutputFolder output(Path("out") / "", false);
  EXPECT_EQ(output.folder(), Path("out.partial"));
  output.Commit();
  EXPECT_TRUE(fs::is_directory(Path("out")));
}

TEST_F(Output, RefusesWhatExists) {
  fs::create_directory(Path("folder"));
  Put(Path("file"), "old");
  fs::create_symlink("nowhere", Path("link"));
  for (const char* name : {"folder", "file", "link"}) {
    EXPECT_ERROR(OutputFolder(Path(name), false), "the output exists already");
    EXPECT_ERROR(OutputFile(Path(name), false), "--overwrite");
    EXPECT_FALSE(fs::exists(Path(name) += ".partial"));
  }
  EXPECT_ERROR(OutputFolder(Path("file"), true), "a file is there");
  EXPECT_ERROR(OutputFile(Path("folder"), true), "something else is there");
  EXPECT_EQ(Slurp(Path("file")), "old");
}

TEST_F(Output, ReplacesOnlyAtTheEnd) {
  fs::create_directory(Path("out"));
  Put(Path("out/old"), "old");
  Put(Path("file"), "old");
  {
    OutputFolder output(Path("out"), true);
    OutputFile file(Path("file"), true);
    WriteFile(output.folder() / "new", "new");
    WriteFile(file.file(), "new");
  }  // not committed
  EXPECT_EQ(Slurp(Path("out/old")), "old");
  EXPECT_EQ(Slurp(Path("file")), "old");
  {
    OutputFolder output(Path("out"), true);
    OutputFile file(Path("file"), true);
    WriteFile(output.folder() / "new", "new");
    WriteFile(file.file(), "new");
    EXPECT_EQ(Slurp(Path("out/old")), "old");
    output.Commit();
    file.Commit();
  }
  EXPECT_EQ(Slurp(Path("out/new")), "new");
  EXPECT_FALSE(fs::exists(Path("out/old")));
  EXPECT_EQ(Slurp(Path("file")), "new");
  EXPECT_FALSE(fs::exists(Path("out.partial")));
  EXPECT_FALSE(fs::exists(Path("file.partial")));
}

TEST_F(Output, ReplacesALinkAndNotItsTarget) {
  fs::create_directory(Path("target"));
  Put(Path("target/precious"), "here");
  fs::create_directory_symlink(Path("target"), Path("out"));
  OutputFolder output(Path("out"), true);
  output.Commit();
  EXPECT_FALSE(fs::is_symlink(Path("out")));
  EXPECT_EQ(Slurp(Path("target/precious")), "here");
}

TEST_F(Output, KeepsTheWorkWhenTheNameIsTakenMeanwhile) {
  OutputFolder output(Path("out"), false);
  WriteFile(output.folder() / "work", "of hours");
  fs::create_directory(Path("out"));  // empty: rename() alone would replace it
  EXPECT_ERROR(output.Commit(), "has appeared at the output path");
  EXPECT_EQ(Slurp(Path("out.partial/work")), "of hours");
}

TEST_F(Output, RefusesUselessPaths) {
  EXPECT_ERROR(OutputFolder(Path("none/out"), false), "none does not exist");
  Put(Path("file"), "");
  EXPECT_ERROR(OutputFolder(Path("file/out"), false), "does not exist");
  for (const char* path : {"", "/", ".", "..", "a/.."})
    EXPECT_ERROR(OutputFolder(path, true), "without a name");
}

TEST_F(Output, RefusesAFolderThatCannotBeWritten) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  fs::create_directory(Path("locked"));
  fs::permissions(Path("locked"), fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_ERROR(OutputFolder(Path("locked/out"), false), "cannot write into the folder (Permission denied)");
  EXPECT_ERROR(WriteFile(Path("locked/file"), "x"), "Permission denied");
  fs::permissions(Path("locked"), fs::perms::owner_all);
}

TEST_F(Output, RemovesOrContinuesWhatAnEarlierRunLeft) {
  for (int run = 0; run < 2; ++run) {
    OutputFolder output(Path("out"), false, Leftover::kContinue);
    EXPECT_EQ(output.continued(), run == 1);
    WriteFile(output.folder() / std::to_string(run), "");
    output.Keep();
  }
  EXPECT_TRUE(fs::exists(Path("out.partial/0")));
  {
    OutputFolder output(Path("out"), false);
    EXPECT_FALSE(output.continued());
    EXPECT_TRUE(fs::is_empty(output.folder()));
  }
  EXPECT_FALSE(fs::exists(Path("out.partial")));

  Put(Path("file.partial"), "left");
  {
    OutputFile output(Path("file"), false, Leftover::kContinue);
    EXPECT_TRUE(output.continued());
    EXPECT_EQ(Slurp(output.file()), "left");
    output.Keep();
  }
  OutputFile output(Path("file"), false);
  EXPECT_EQ(Slurp(output.file()), "");
}

TEST_F(Output, MayHaveThingsBesideIt) {
  {
    OutputFolder output(Path("out"), false, Leftover::kContinue, "model");
    EXPECT_EQ(output.folder(), Path("out.partial/model"));
    WriteFile(output.folder() / "weights", "half");
    WriteFile(output.partial() / "journal", "1");
    output.Keep();
  }
  {
    OutputFolder output(Path("out"), false, Leftover::kContinue, "model");
    EXPECT_TRUE(output.continued());
    EXPECT_EQ(Slurp(output.folder() / "weights"), "half");
    output.Empty();
    EXPECT_FALSE(output.continued());
    EXPECT_TRUE(fs::is_empty(output.folder()));
    EXPECT_FALSE(fs::exists(output.partial() / "journal"));
    WriteFile(output.partial() / "journal", "2");
    WriteFile(output.folder() / "weights", "whole");
    output.Commit();
  }
  EXPECT_EQ(Slurp(Path("out/weights")), "whole");
  EXPECT_FALSE(fs::exists(Path("out.partial")));
  OutputFolder output(Path("out"), true, Leftover::kContinue, "model");
  WriteFile(output.folder() / "other", "");
  output.Commit();
  EXPECT_FALSE(fs::exists(Path("out/weights")));
  EXPECT_TRUE(fs::exists(Path("out/other")));
  EXPECT_FALSE(fs::exists(Path("out.partial")));
}

TEST_F(Output, ReplacesAFileInOneStep) {
  WriteFileAtOnce(Path("file"), "old");
  EXPECT_EQ(Slurp(Path("file")), "old");
  WriteFileAtOnce(Path("file"), "new");
  EXPECT_EQ(Slurp(Path("file")), "new");
  EXPECT_FALSE(fs::exists(Path("file.new")));
  EXPECT_ERROR(WriteFileAtOnce(Path("none/file"), "x"), "none/file.new");
}

TEST_F(Output, RefusesStrangeLeftovers) {
  Put(Path("a.partial"), "a file");
  EXPECT_ERROR(OutputFolder(Path("a"), false), "a.partial");
  fs::create_directory(Path("target"));
  Put(Path("target/precious"), "here");
  fs::create_directory_symlink(Path("target"), Path("b.partial"));
  EXPECT_ERROR(OutputFolder(Path("b"), false), "b.partial");
  EXPECT_EQ(Slurp(Path("target/precious")), "here");
  fs::create_directory(Path("c.partial"));
  EXPECT_ERROR(OutputFile(Path("c"), false), "c.partial");
}

TEST_F(Output, IsWrittenByOneAtATime) {
  std::optional<OutputFolder> first(std::in_place, Path("out"), false);
  EXPECT_ERROR(OutputFolder(Path("out"), false), "another process is writing");
  EXPECT_ERROR(OutputFolder(Path("out"), false, Leftover::kContinue), "another process is writing");
  EXPECT_TRUE(fs::exists(Path("out.partial")));
  first.reset();
  OutputFolder second(Path("out"), false);
  OutputFile file(Path("file"), false);
  EXPECT_ERROR(OutputFile(Path("file"), false), "another process is writing");
}

TEST_F(Output, CopiesFiles) {
  Put(Path("from"), std::string(100'000, 'x'));
  CopyFile(Path("from"), Path("to"));
  EXPECT_EQ(Slurp(Path("to")), Slurp(Path("from")));
  Put(Path("empty"), "");
  CopyFile(Path("empty"), Path("to"));
  EXPECT_EQ(Slurp(Path("to")), "");
  EXPECT_ERROR(CopyFile(Path("none"), Path("to")), "none");
  EXPECT_ERROR(CopyFile(Path("from"), Path("none/to")), "none/to");
}

TEST_F(Output, NamesTheFileWhenTheDiskIsFull) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  EXPECT_ERROR(WriteFile("/dev/full", "x"), "No space left on device), /dev/full, free disk space");
}

// In a process of its own: the limit on file sizes stands in for a full disk.
int WriteUnderALimit(const fs::path& path, int64_t bytes) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 16, 1 << 16};
    setrlimit(RLIMIT_FSIZE, &limit);
    int result = 0;
    try {
      OutputFolder output(path, false);
      const CheckpointWriter writer(output.folder(), {{"x", DType::kU8, {bytes}}});
    } catch (const Error& e) {
      const std::string message = e.what();
      result = message.find("model.safetensors") != std::string::npos &&
                       message.find("reserve") != std::string::npos
                   ? 1
                   : 2;
    } catch (...) {
      result = 3;
    }
    _exit(result);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// How a process of its own ends that writes `path` at once under GPTQ_FAULT: its exit code, or minus the
// signal that killed it.
int WriteWithFault(const fs::path& path, const std::string& fault) {
  const pid_t child = fork();
  if (child == 0) {
    setenv("GPTQ_FAULT", fault.c_str(), 1);
    int result = 0;
    try {
      WriteFileAtOnce(path, "new content");
    } catch (const WriteError& e) {
      result = std::string(e.what()).find("No space left") != std::string::npos ? 1 : 2;
    }
    _exit(result);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// Points: make, write, synchronize, rename, synchronize the folder.
TEST_F(Output, FaultsLeaveTheOldOrTheNewContent) {
  const fs::path path = Path("file");
  for (int point = 1; point <= 6; ++point) {
    for (const char* kind : {"kill", "full"}) {
      Put(path, "old");
      const int result = WriteWithFault(path, Concat(kind, ":", point));
      const bool lenient = point == 5 && *kind == 'f';  // not every folder can be synchronized
      EXPECT_EQ(result, point == 6 || lenient ? 0 : *kind == 'k' ? -SIGKILL : 1) << kind << point;
      EXPECT_EQ(Slurp(path), point >= 5 ? "new content" : "old") << kind << point;
    }
  }
  EXPECT_EQ(WriteWithFault(path, "terminate:2"), -SIGTERM);
  EXPECT_EQ(WriteWithFault(path, "nonsense"), 0);
}

TEST_F(Output, IsRefusedAtOnceWhenItDoesNotFit) {
  EXPECT_EQ(WriteUnderALimit(Path("small"), 1000), 0);
  EXPECT_EQ(WriteUnderALimit(Path("large"), 100'000), 1);
  EXPECT_FALSE(fs::exists(Path("large.partial")));
}

}  // namespace output_folder_test
}  // namespace gptq
