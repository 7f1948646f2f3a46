// What all commands share. One file per command: it declares its options and calls one workflow.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "compute/backend.h"

namespace gptq {

// Options that every command takes, and the way results leave.
class CommandContext {
 public:
  bool json = false;
  bool quiet = false;
  int threads = 0;  // 0 = all cores
  std::string device = "auto";
  std::string report;  // file for a page about the result; empty = none

  // `device_memory`: bytes of a GPU that may be taken; 0: all that is free.
  std::unique_ptr<Backend> MakeBackend(int64_t device_memory = 0) const;
  Progress& progress();
  // Nothing is drawn any more: what follows on standard error stands on lines of its own.
  void EndProgress() { progress_.reset(); }
  // The command's JSON result, and the text printed instead of it without --json.
  void SetResult(Json result, std::string text);
  const Json& result() const { return result_; }
  const std::string& text() const { return text_; }
  // Files that main.cpp writes when it has told the result.
  void AddFile(std::string path, std::string content) {
    files_.emplace_back(std::move(path), std::move(content));
  }
  const std::vector<std::pair<std::string, std::string>>& files() const { return files_; }

 private:
  std::unique_ptr<Progress> progress_;
  Json result_ = Json::object();
  std::string text_;
  std::vector<std::pair<std::string, std::string>> files_;
};

// Each adds its subcommand to the program; the subcommand's callback does the work.
void AddQuantizeCommand(CLI::App& app, CommandContext& context);
void AddConvertCommand(CLI::App& app, CommandContext& context);
void AddEvaluateCommand(CLI::App& app, CommandContext& context);
void AddCompareCommand(CLI::App& app, CommandContext& context);
void AddGenerateCommand(CLI::App& app, CommandContext& context);
void AddChatCommand(CLI::App& app, CommandContext& context);
void AddLogitsCommand(CLI::App& app, CommandContext& context);
void AddSolveCommand(CLI::App& app, CommandContext& context);
void AddTokenizeCommand(CLI::App& app, CommandContext& context);
void AddDetokenizeCommand(CLI::App& app, CommandContext& context);
void AddInspectCommand(CLI::App& app, CommandContext& context);
void AddBenchmarkCommand(CLI::App& app, CommandContext& context);
void AddReportCommand(CLI::App& app, CommandContext& context);
void AddSweepCommand(CLI::App& app, CommandContext& context);

// --report FILE.html; main.cpp writes it when the command is done. See side_file.h.
void AddReportOption(CLI::App* command, CommandContext& context);

// Accepts numbers from `low` to `high`, and no NaN (CLI::Range lets it through).
CLI::Validator NumberFrom(double low, double high);

// printf for short texts.
std::string Format(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace gptq
