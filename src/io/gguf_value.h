// Parsing of one GGUF metadata value. Internal to gguf*.cpp.
#pragma once

#include <string_view>

#include "io/gguf.h"
#include "io/gguf_cursor.h"

namespace gptq {

// Type and value from the cursor; `key` is for messages. Throws Error.
GgufValue ReadGgufValue(GgufCursor& cursor, std::string_view key);

std::string_view Name(GgufType type);  // "uint8", "string"

}  // namespace gptq
