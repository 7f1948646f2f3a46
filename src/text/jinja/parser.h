// Source to syntax tree.
#pragma once

#include <string_view>

#include "text/jinja/syntax.h"

namespace gptq {

// Throws Error naming `where`, the line and what is not known or not supported.
JinjaBody ParseJinja(std::string_view source, std::string_view where);

}  // namespace gptq
