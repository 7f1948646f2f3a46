#include "cli/side_file.h"

#include <filesystem>
#include <fstream>

#include "io/writable_file.h"
#include "report/report.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

// Options whose files need not exist yet.
constexpr const char* kWritten[] = {"--output", "--details", "--reference-cache"};

bool IsSame(const fs::path& a, const fs::path& b) {
  std::error_code code;
  return fs::equivalent(a, b, code) && !code;
}

bool WillBeSame(const fs::path& a, const fs::path& b) {
  std::error_code code;
  const fs::path place_of_a = fs::weakly_canonical(a, code);
  if (code) return false;
  const fs::path place_of_b = fs::weakly_canonical(b, code);
  return !code && place_of_a == place_of_b;
}

void CheckOtherArguments(const CLI::App& command, const SideFile& file) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->check_name(file.option)) continue;
    const bool written = std::ranges::find(kWritten, option->get_name()) != std::end(kWritten);
    for (const std::string& value : option->results()) {
      if (!IsSame(file.path, value) && !(written && WillBeSame(file.path, value))) continue;
      throw UsageError(Concat(file.option, " ", file.path, ": ", option->get_name(),
                              " names the same file, choose another name"));
    }
  }
}

std::string Beginning(const fs::path& path) {
  std::string text(4096, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

void CheckContent(const SideFile& file) {
  std::error_code code;
  if (!fs::exists(fs::symlink_status(file.path, code))) return;
  const bool regular = fs::is_regular_file(file.path, code);
  if (regular && (fs::file_size(file.path, code) == 0 || file.is_such(Beginning(file.path)))) return;
  throw UsageError(Concat(file.option, " ", file.path, ": something else than ", file.what,
                          " is there, choose another name or move it away"));
}

}  // namespace

void CheckSideFile(const CLI::App& command, const SideFile& file) {
  CheckOtherArguments(command, file);
  CheckContent(file);
  CheckCanWrite(file.path);
}

SideFile PageFile(const std::string& option, const std::string& path) {
  return {option, path, "a page of this program", IsReportPage};
}

void CheckReport(const CLI::App& command, const CommandContext& context) {
  if (!context.report.empty()) CheckSideFile(command, PageFile("--report", context.report));
}

}  // namespace gptq
