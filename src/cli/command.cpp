#include "cli/command.h"

#include <cstdarg>
#include <cstdio>
#include <filesystem>

#include "base/thread_pool.h"
#include "cli/console_progress.h"

namespace gptq {

std::unique_ptr<Backend> CommandContext::MakeBackend(int64_t device_memory) const {
  const int of_host = threads > 0 ? threads : AvailableCores();
  if (device == "cuda") return MakeCudaBackend(of_host, device_memory);
  if (device == "auto" && CudaDeviceCount() > 0) return MakeCudaBackend(of_host, device_memory);
  if (device == "auto" || device == "cpu") return MakeCpuBackend(of_host);
  throw UsageError(Concat("--device ", device, " is not known; known are auto, cpu, cuda"));
}

Progress& CommandContext::progress() {
  if (!progress_) progress_ = MakeConsoleProgress(quiet);
  return *progress_;
}

void CommandContext::SetResult(Json result, std::string text) {
  result_ = std::move(result);
  text_ = std::move(text);
}

void AddReportOption(CLI::App* command, CommandContext& context) {
  const auto check = [](const std::string& file) {
    const auto folder = std::filesystem::absolute(file).parent_path();
    if (!std::filesystem::is_directory(folder)) return Concat("folder ", folder.string(), " does not exist");
    return std::filesystem::is_directory(file) ? Concat(file, " is a folder") : std::string();
  };
  command
      ->add_option("--report", context.report,
                   "File for a page (HTML) about the result; an earlier page is replaced")
      ->check(CLI::Validator(check, "FILE.html"));
}

CLI::Validator NumberFrom(double low, double high) {
  const auto check = [low, high](const std::string& text) -> std::string {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= low && value <= high) return "";
    return Concat("'", text, "' is not a number from ", low, " to ", high);
  };
  return CLI::Validator(check, Concat("FLOAT in [", low, " - ", high, "]"));
}

std::string Format(const char* format, ...) {
  char buffer[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof(buffer), format, arguments);
  va_end(arguments);
  return buffer;
}

}  // namespace gptq
