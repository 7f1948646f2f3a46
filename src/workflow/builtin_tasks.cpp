#include "workflow/builtin_tasks.h"

// The file becomes part of the program as it is.
asm(".section .rodata\n"
    ".balign 16\n"
    "gptq_builtin_tasks_begin:\n"
    ".incbin \"" GPTQ_TASKS_FILE
    "\"\n"
    "gptq_builtin_tasks_end:\n"
    ".byte 0\n"
    ".previous\n");

extern "C" {
extern const char gptq_builtin_tasks_begin[] __attribute__((visibility("hidden")));
extern const char gptq_builtin_tasks_end[] __attribute__((visibility("hidden")));
}

namespace gptq {

std::string_view BuiltInTasks() {
  return {gptq_builtin_tasks_begin, static_cast<size_t>(gptq_builtin_tasks_end - gptq_builtin_tasks_begin)};
}

}  // namespace gptq
