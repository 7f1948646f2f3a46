// What was measured, as JSON: the keys of the commands' results.
#pragma once

#include "base/json.h"
#include "workflow/bias.h"
#include "workflow/compare.h"
#include "workflow/perplexity.h"
#include "workflow/zero_shot.h"

namespace gptq {

Json ToJson(const PerplexityResult& result, const PerplexityOptions& options);
Json ToJson(const TaskResult& result, const Task& task);
Json ToJson(const BiasResult& result);
Json ToJson(const CompareResult& result);

}  // namespace gptq
