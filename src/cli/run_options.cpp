#include "cli/run_options.h"

#include <cmath>
#include <map>

#include "base/error.h"
#include "cli/command.h"
#include "report/html.h"

namespace gptq {
namespace {

std::string SizeText(const Json& bytes) {
  const auto value = bytes.get<double>();
  if (value < 1e7) return Format("%.0f kB", value / 1e3);
  return value < 1e9 ? Format("%.0f MB", value / 1e6) : Format("%.2f GB", value / 1e9);
}

// Rounded up to what --memory takes: as much is enough.
std::string LeastText(const Json& bytes) { return SizeText(std::ceil(bytes.get<double>() / 1e6) * 1e6); }

std::string TimeText(double seconds) {
  if (seconds < 90) return Format("%.0f s", seconds);
  if (seconds < 5400) return Format("%.0f min", seconds / 60);
  return Format("%.1f h", seconds / 3600);
}

// Linears of the same kind in one line: "30 x [576, 1536] 4 bits, groups of 64".
std::string LinearsText(const Json& layers) {
  std::map<std::string, int64_t> kinds;
  for (const Json& layer : layers) {
    const auto group_size = layer.at("group_size").get<int64_t>();
    if (layer.at("type").is_string()) {
      ++kinds[Concat("[", layer.at("rows"), ", ", layer.at("columns"), "] ",
                     layer.at("type").get<std::string>())];
      continue;
    }
    const std::string groups = group_size < 0 ? "whole rows" : Concat("groups of ", group_size);
    ++kinds[Concat("[", layer.at("rows"), ", ", layer.at("columns"), "] ", layer.at("bits"), " bits, ",
                   groups)];
  }
  std::string text;
  for (const auto& [kind, count] : kinds) text += Concat("  ", count, " x ", kind, "\n");
  return text;
}

}  // namespace

void AddRunOptions(CLI::App* command, RunOptions* given) {
  command->add_option(
      "--memory", given->memory,
      "Most memory to take, e.g. 2G or 600M; calibration activations beyond it go to the disk "
      "(default: 80 % of what is available)");
  CLI::Option* resume =
      command->add_flag("--resume", given->resume,
                        "Only go on from unfinished work (without it: go on if there is any, else begin)");
  command->add_flag("--restart", given->restart, "Throw unfinished work away and begin")->excludes(resume);
  command->add_flag("--dry-run", given->dry_run, "Print the plan: layers, memory, disk, estimated time");
}

void ApplyRunOptions(const RunOptions& given, QuantizeOptions& options) {
  if (!given.memory.empty()) options.memory_bytes = ParseSize(given.memory, "--memory");
  if (given.resume) options.unfinished = Unfinished::kMustGoOn;
  if (given.restart) options.unfinished = Unfinished::kRestart;
}

int64_t ParseSize(const std::string& text, const char* option) {
  const auto wrong = [&] {
    return UsageError(Concat(option, " '", text, "' is not a size such as 600M, 2G or 1.5GiB"));
  };
  size_t end = 0;
  double value = 0;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    throw wrong();
  }
  std::string unit = text.substr(end);
  if (!unit.empty() && (unit.back() == 'B' || unit.back() == 'b')) unit.pop_back();
  const bool binary = unit.size() == 2 && unit.back() == 'i';
  if (binary) unit.pop_back();
  const size_t power =
      unit.empty() ? 0 : std::string("KMGT").find(static_cast<char>(std::toupper(unit[0]))) + 1;
  if (unit.size() > 1 || (!unit.empty() && power == 0)) throw wrong();
  value *= std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(power));
  if (!(value >= 1) || value > 1e18) throw wrong();
  return static_cast<int64_t>(value);
}

std::string PlanText(const Json& plan) {
  const Json& calibration = plan.at("calibration");
  const Json& memory = plan.at("memory");
  std::string text = Concat(plan.at("layers").size(), " linears, ",
                            Format("%.2f", plan.at("bits_per_weight").get<double>()), " bits per weight\n");
  text += LinearsText(plan.at("layers"));
  text += Concat("calibration: ", calibration.at("samples"), " samples, ",
                 CountText(calibration.at("tokens").get<int64_t>()), " tokens, ",
                 calibration.at("sink_sequences"), " sequences of one token\n");
  text += Concat("memory: ", SizeText(memory.at("planned_bytes")), " of a budget of ",
                 SizeText(memory.at("budget_bytes")), " (at least ", LeastText(memory.at("least_bytes")),
                 " are needed); of ", SizeText(memory.at("activations_bytes")), " of activations ",
                 SizeText(memory.at("spilled_bytes")), " go to the disk\n");
  text += Concat("disk: ", SizeText(plan.at("disk").at("output_bytes")), " for the output, ",
                 SizeText(plan.at("disk").at("temporary_bytes")), " until it is complete\n");
  text += "time: about " + TimeText(plan.at("estimated_seconds").get<double>()) + "\n";
  return text;
}

}  // namespace gptq
