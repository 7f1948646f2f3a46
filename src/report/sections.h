// The parts of a page: each is HTML about results of one command, "" where there is nothing to say.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace gptq {

std::string QuantizeSection(const Json& result);
std::string EvaluateSection(const Json& result);
std::string CompareSection(const Json& result);
// What several runs lost against their bits.
std::string RunsSection(const std::vector<Json>& results);

}  // namespace gptq
