// gptq: the command line. Errors are caught here and nowhere else.
#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <span>

#include "base/error.h"
#include "cli/command.h"
#include "cli/console_progress.h"
#include "io/writable_file.h"
#include "report/report.h"

namespace gptq {
namespace {

enum ExitCode { kDone = 0, kImpossible = 1, kWrongUsage = 2, kInterrupted = 130 };

// Largest resident set of this process so far, mapped files included.
int64_t PeakMemoryBytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    int64_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

void AddCommands(CLI::App& app, CommandContext& context) {
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", std::string("gptq ") + GPTQ_VERSION);
  app.add_flag("--json", context.json, "Print exactly one JSON object, the result");
  app.add_flag("--quiet", context.quiet, "No progress on standard error");
  app.add_option("--threads", context.threads, "Default: all cores that the process may use")
      ->check(CLI::Range(1, 4096));
  app.add_option("--device", context.device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  AddQuantizeCommand(app, context);
  AddConvertCommand(app, context);
  AddEvaluateCommand(app, context);
  AddCompareCommand(app, context);
  AddGenerateCommand(app, context);
  AddChatCommand(app, context);
  AddLogitsCommand(app, context);
  AddSolveCommand(app, context);
  AddTokenizeCommand(app, context);
  AddDetokenizeCommand(app, context);
  AddInspectCommand(app, context);
  AddBenchmarkCommand(app, context);
  AddReportCommand(app, context);
  AddSweepCommand(app, context);
  for (CLI::App* command : app.get_subcommands({})) {
    command->fallthrough();
    command->footer("and, as every command: --json --quiet --threads N --device auto|cpu (gptq --help)");
  }
}

std::string WhatIsWrong(const CLI::App& app, const CLI::ParseError& error) {
  if (!app.get_subcommands().empty()) return error.what();
  for (const std::string& word : app.remaining()) {
    if (word.starts_with('-')) continue;
    std::string known;
    for (const CLI::App* command : app.get_subcommands({})) known += " " + command->get_name();
    return Concat("unknown command '", word, "'; known are", known);
  }
  return error.what();
}

// The result with what every result says.
Json WholeResult(const CommandContext& context, const std::string& command, std::span<char*> arguments,
                 double seconds) {
  Json result = context.result();
  result["command"] = command;
  result["arguments"] = std::vector<std::string>(arguments.begin(), arguments.end());
  result["version"] = GPTQ_VERSION;
  result["seconds"] = seconds;
  result["peak_memory_bytes"] = PeakMemoryBytes();
  return result;
}

// False when it cannot be written.
bool TellResult(const CommandContext& context, const Json& result) {
  std::fputs(context.json ? (Dump(result, 2) + "\n").c_str() : context.text().c_str(), stdout);
  return std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
}

void WriteFiles(const CommandContext& context, const Json& result) {
  for (const auto& [path, content] : context.files()) WriteFileAtOnce(path, content);
  // Through its text, so that what is no UTF-8 is none in the page either.
  if (!context.report.empty())
    WriteFileAtOnce(context.report, ReportPage({ParseJson(Dump(result), "the result")}));
}

int Fail(CommandContext& context, ExitCode code, const char* kind, std::string_view message) {
  context.EndProgress();
  std::fprintf(stderr, "gptq: %s: %.*s\n", kind, static_cast<int>(message.size()), message.data());
  return code;
}

int Main(int argc, char** argv) {
  CLI::App app("GPTQ: one-shot quantization of language models to 2-8 bits", "gptq");
  CommandContext context;
  AddCommands(app, context);
  CatchInterrupts();
  mallopt(M_MMAP_THRESHOLD, 1 << 20);  // fixed: large blocks go back to the system and leave no holes
  const auto start = std::chrono::steady_clock::now();
  try {
    app.parse(argc, argv);  // runs the command's callback
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    context.EndProgress();
    const Json result = WholeResult(context, app.get_subcommands().front()->get_name(),
                                    std::span(argv, static_cast<size_t>(argc)).subspan(1), seconds);
    // First, so that it is not lost with a file that cannot be written.
    const bool told = TellResult(context, result);
    WriteFiles(context, result);
    if (!told) {
      return Fail(context, kImpossible, "error",
                  "the result cannot be written, standard output, is its disk full?");
    }
    return kDone;
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    return Fail(context, kWrongUsage, "wrong usage",
                WhatIsWrong(app, e) + " (see gptq --help and gptq COMMAND --help)");
  } catch (const UsageError& e) {
    return Fail(context, kWrongUsage, "wrong usage", e.what());
  } catch (const Interrupted& e) {
    return Fail(context, kInterrupted, "interrupted", e.what());
  } catch (const Error& e) {
    return Fail(context, kImpossible, "error", e.what());
  } catch (const std::bad_alloc&) {
    return Fail(context, kImpossible, "error",
                "out of memory, this machine, use fewer samples or a machine with more memory");
  } catch (const std::filesystem::filesystem_error& e) {
    return Fail(context, kImpossible, "error",
                Error(e.code().message(), e.path1().string(), "check the path and its permissions").what());
  } catch (const std::exception& e) {
    return Fail(context, kImpossible, "error",
                Error(Concat("unexpected problem (", e.what(), ")"), "this program",
                      "report it with the command and its input")
                    .what());
  }
}

}  // namespace
}  // namespace gptq

int main(int argc, char** argv) { return gptq::Main(argc, argv); }
