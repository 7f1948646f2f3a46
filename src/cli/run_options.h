// How a long run goes on and what it may take: options of `quantize` that do not change its result.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/json.h"
#include "workflow/quantize.h"

namespace gptq {

struct RunOptions {
  std::string memory;
  bool resume = false, restart = false, dry_run = false;
};

void AddRunOptions(CLI::App* command, RunOptions* given);
// Throws UsageError for a size that is none.
void ApplyRunOptions(const RunOptions& given, QuantizeOptions& options);

// "600M", "1.5GiB", "2G", "1000000": K, M, G, T are powers of 1000, with i of 1024. Throws UsageError.
int64_t ParseSize(const std::string& text, const char* option);

// The plan of --dry-run as text.
std::string PlanText(const Json& plan);

}  // namespace gptq
