// What a run of quantize would do and cost, from its plan and a short measurement of this machine.
#pragma once

#include <map>
#include <string>

#include "workflow/quantize_job.h"
#include "workflow/quantize_memory.h"

namespace gptq {

// Seconds by stage, as QuantizeReport::stage_seconds. Takes a few seconds: it times the real operations on a
// part of the first block.
std::map<std::string, double> EstimateSeconds(const QuantizeJob& job, Backend& backend);

// The plan of `gptq quantize --dry-run`.
Json DescribePlan(const QuantizeJob& job, const MemoryPlan& memory, Backend& backend);

}  // namespace gptq
