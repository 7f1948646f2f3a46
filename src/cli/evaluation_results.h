// What `evaluate` says to people; workflow/result_json.h says it to programs.
#pragma once

#include <string>
#include <string_view>

#include "workflow/bias.h"
#include "workflow/perplexity.h"
#include "workflow/zero_shot.h"

namespace gptq {

std::string Describe(const PerplexityResult& result, const PerplexityOptions& options,
                     const std::string& data);

std::string Describe(const TaskResult& result, const Task& task);
// One JSON object a line for each example: log-likelihoods of all choices, and what was right.
std::string DetailLines(const TaskResult& result);
// Whether a file that begins with `text` is made of such lines.
bool IsDetailLines(std::string_view text);

std::string Describe(const BiasResult& result);

}  // namespace gptq
