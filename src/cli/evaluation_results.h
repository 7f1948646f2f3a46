// What `evaluate` says: JSON, and the text for people.
#pragma once

#include <string>

#include "base/json.h"
#include "workflow/bias.h"
#include "workflow/perplexity.h"
#include "workflow/zero_shot.h"

namespace gptq {

Json ToJson(const PerplexityResult& result, const PerplexityOptions& options);
std::string Describe(const PerplexityResult& result, const PerplexityOptions& options,
                     const std::string& data);

Json ToJson(const TaskResult& result, const Task& task);
std::string Describe(const TaskResult& result, const Task& task);
// One JSON object a line for each example: log-likelihoods of all choices, and what was right.
std::string DetailLines(const TaskResult& result);

Json ToJson(const BiasResult& result);
std::string Describe(const BiasResult& result);

}  // namespace gptq
