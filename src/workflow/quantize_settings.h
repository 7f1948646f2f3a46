// All that decides what quantize writes: the same settings give the same bytes.
#pragma once

#include "workflow/quantize_job.h"

namespace gptq {

// By the name that the user knows: options as on the command line, and hashes of what was read. Nothing in it
// depends on paths, threads, or the memory budget.
Json DecidingSettings(const QuantizeJob& job);

}  // namespace gptq
