// Reading a quantization config's keys; errors name the file and the key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"

namespace gptq::config_json {

[[noreturn]] void Bad(std::string_view where, std::string_view key, const Json& value,
                      std::string_view what_to_do);
// The value of the key, or of `otherwise` where it is absent or null.
int64_t Integer(const Json& json, std::string_view key, int64_t otherwise, std::string_view where);
bool Boolean(const Json& json, std::string_view key, bool otherwise, std::string_view where);
std::string Text(const Json& json, std::string_view key, std::string_view otherwise, std::string_view where);

// Throws Error unless it is a regular expression of reasonable length.
void CheckPattern(std::string_view key, const std::string& pattern, std::string_view where);

}  // namespace gptq::config_json
