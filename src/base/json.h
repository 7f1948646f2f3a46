// JSON is nlohmann::json; these helpers add errors that name the file and the key.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace gptq {

using Json = nlohmann::json;

// Throws Error naming `where` when the text is not JSON or nests deeper than 200 levels.
Json ParseJson(std::string_view text, std::string_view where);
// Reads a whole file, at most `max_bytes` long.
std::string ReadTextFile(const std::filesystem::path& path, int64_t max_bytes = int64_t{1} << 30);
Json ReadJsonFile(const std::filesystem::path& path);

template <typename Value>
Json OrNull(const std::optional<Value>& value) {
  return value ? Json(*value) : Json();
}

// UTF-8 text with one character per invalid byte replaced, for output.
std::string Dump(const Json& value, int indent = -1);

}  // namespace gptq
