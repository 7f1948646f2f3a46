// Reading results that may be of another version or another program: what is missing or of another type is
// absent.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace gptq {

// Null where there is none. A path "a/b" goes through objects.
const Json& FieldOf(const Json& object, std::string_view path);
std::optional<double> NumberIn(const Json& object, std::string_view path);
std::optional<std::string> TextIn(const Json& object, std::string_view path);
// The objects of an array.
std::vector<Json> ObjectsIn(const Json& object, std::string_view path);

// "wikitext2-test.txt" of a path: what people recognise.
std::string FileName(const std::string& path);

}  // namespace gptq
