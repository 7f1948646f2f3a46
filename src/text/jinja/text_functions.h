// What methods of str and filters have in common.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace gptq {

bool IsPythonSpace(char32_t c);  // as str.isspace

enum class JinjaSides { kLeft, kRight, kBoth };
std::string Strip(const std::string& text, const JinjaValue* characters, JinjaSides sides, JinjaRun& run);
std::string ReplaceText(std::string_view text, std::string_view from, std::string_view to, int64_t most,
                        JinjaRun& run);
std::string Capitalize(std::string_view text);
std::string TitleCase(std::string_view text);
// How many characters a text lacks of a width, which are spent: room for them is made next.
int64_t MissingCharacters(const JinjaValue& text, int64_t width, JinjaRun& run);
std::string Center(const std::string& text, int64_t width, JinjaRun& run);
std::vector<std::string> SplitWords(std::string_view text);
std::vector<std::string> SplitLines(std::string_view text, bool keep_ends);

}  // namespace gptq
