// data/tasks.json, part of the program.
#pragma once

#include <string_view>

namespace gptq {

std::string_view BuiltInTasks();

}  // namespace gptq
