// Texts made of a row's fields.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace gptq {

// The value at "a.b.*.c", an array where there is a "*"; nullopt where the row has none.
std::optional<Json> FieldAt(const Json& fields, std::string_view path);
// FieldAt as text: texts and numbers. Nullopt where it is absent or something else.
std::optional<std::string> TextAt(const Json& fields, std::string_view path);
// "Question: {question|strip}": nullopt where a field is absent.
std::optional<std::string> FillTemplate(std::string_view text, const Json& fields);
// strip, strip_left, drop_last, capitalize, lower_first, because_therefore, wikihow. Throws Error for others.
std::string ApplyFilter(std::string_view filter, std::string text);

}  // namespace gptq
