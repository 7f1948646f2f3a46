// The frame of a page: one self-contained HTML file, for phones and wide screens, light and dark.
#pragma once

#include <string>

namespace gptq {

// `body` is HTML.
std::string Page(const std::string& title, const std::string& body);

}  // namespace gptq
