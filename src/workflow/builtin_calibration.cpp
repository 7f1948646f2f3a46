#include "workflow/calibration.h"

// The file becomes part of the program as it is.
asm(".section .rodata\n"
    ".balign 16\n"
    "gptq_builtin_calibration_begin:\n"
    ".incbin \"" GPTQ_CALIBRATION_FILE
    "\"\n"
    "gptq_builtin_calibration_end:\n"
    ".byte 0\n"
    ".previous\n");

extern "C" {
extern const char gptq_builtin_calibration_begin[] __attribute__((visibility("hidden")));
extern const char gptq_builtin_calibration_end[] __attribute__((visibility("hidden")));
}

namespace gptq {

std::string_view BuiltInCalibrationDocuments() {
  return {gptq_builtin_calibration_begin,
          static_cast<size_t>(gptq_builtin_calibration_end - gptq_builtin_calibration_begin)};
}

}  // namespace gptq
