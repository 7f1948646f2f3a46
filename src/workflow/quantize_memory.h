// How much memory a run of quantize takes at most, and how much of its activations has to go to the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "workflow/quantize_job.h"

namespace gptq {

struct MemoryPlan {
  int64_t budget = 0;       // asked for, or 80 % of what the machine has available
  int64_t least = 0;        // with all activations on the disk
  int64_t peak = 0;         // the largest resident set of this plan
  int64_t statistics = 0;   // what those of a stage may take at a time
  int64_t activations = 0;  // all of them
  int64_t spilled = 0;      // of these, on the disk
  size_t resident_batches = 0;
};

// What this process and the machine have: absent where /proc does not say.
struct ProcessMemory {
  int64_t resident = 0, peak = 0;  // VmRSS, VmHWM
};
ProcessMemory ReadProcessMemory();

// On top of what the process holds already, `now`. Throws UsageError where options.memory_bytes is too small,
// Error where the machine has less than is needed at least.
MemoryPlan PlanMemory(const QuantizeJob& job, int threads, const ProcessMemory& now = ReadProcessMemory());
// MemAvailable, or less where a control group allows less.
std::optional<int64_t> AvailableMemory();

}  // namespace gptq
