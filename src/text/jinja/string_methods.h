// Python's methods of str.
#pragma once

#include <string_view>

#include "text/jinja/methods.h"

namespace gptq {

JinjaMethod FindStringMethod(std::string_view name);  // nullptr where there is none

}  // namespace gptq
