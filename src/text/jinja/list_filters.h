// Filters of lists: map, select, join, sort ...
#pragma once

#include <string_view>

#include "text/jinja/methods.h"

namespace gptq {

JinjaMethod FindListFilter(std::string_view name);  // nullptr where there is none

}  // namespace gptq
