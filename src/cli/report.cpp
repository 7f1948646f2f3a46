#include "report/report.h"

#include "cli/command.h"
#include "cli/side_file.h"
#include "io/writable_file.h"

namespace gptq {
namespace {

struct ReportCommandOptions {
  std::vector<std::string> files;
  std::string output = "report.html";
};

void RunReport(const CLI::App& command, const ReportCommandOptions& options, CommandContext& context) {
  CheckSideFile(command, PageFile("--output", options.output));
  std::vector<Json> results;
  for (const std::string& file : options.files) {
    for (Json& result : ParseResults(ReadTextFile(file), file)) results.push_back(std::move(result));
  }
  if (results.empty())
    throw Error("a sweep's settings and no results", options.files.front(), "give its results.jsonl, too");
  WriteFileAtOnce(options.output, ReportPage(results));
  context.SetResult({{"output", options.output}, {"results", results.size()}},
                    Concat(options.output, ": ", results.size(), " results\n"));
}

}  // namespace

void AddReportCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<ReportCommandOptions>();
  CLI::App* command =
      app.add_subcommand("report", "Make a page about results of quantize, evaluate, compare and sweep");
  command->add_option("FILES", options->files, "What the commands have printed with --json")->required();
  command->add_option("--output", options->output, "File to write, HTML; an earlier page is replaced")
      ->capture_default_str();
  command->callback([command, options, &context] { RunReport(*command, *options, context); });
}

}  // namespace gptq
