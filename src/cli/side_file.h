// Files that a command writes beside its result: pages and --details. What they would destroy, and where they
// cannot be written, is found before the work.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

#include "cli/command.h"

namespace gptq {

struct SideFile {
  std::string option, path;
  const char* what;                                     // "a page of this program"
  bool (*is_such)(std::string_view beginning_of_file);  // it may be replaced
};

// Throws UsageError when another argument of the command names the same file, or when something else than
// such a file, or an empty one, is there; WriteError when the file cannot be made.
void CheckSideFile(const CLI::App& command, const SideFile& file);

SideFile PageFile(const std::string& option, const std::string& path);
// Of --report, if it is given.
void CheckReport(const CLI::App& command, const CommandContext& context);

}  // namespace gptq
