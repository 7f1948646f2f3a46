// The frame of a page: one self-contained HTML file, for phones and wide screens, light and dark.
#pragma once

#include <string>
#include <string_view>

namespace gptq {

// `body` is HTML.
std::string Page(const std::string& title, const std::string& body);

// Whether a file that begins with `text` is such a page, its title beginning with `title`.
bool IsPage(std::string_view text, std::string_view title);

}  // namespace gptq
