// Cuts the source of a template into tokens, with the settings that chat templates are written for: the line
// break behind a block tag and the spaces before one at the start of a line are no text (trim_blocks,
// lstrip_blocks), and a line break at the very end is dropped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gptq {

struct JinjaToken {
  enum class Kind : uint8_t {
    kData,  // text between the tags
    kBlockBegin,
    kBlockEnd,
    kPrintBegin,
    kPrintEnd,
    kName,
    kText,     // of a string literal, without quotes and escapes
    kInteger,  // text: the decimal digits
    kFloat,
    kOperator,
    kEnd
  };
  Kind kind;
  std::string text;
  int line;
};

// Throws Error naming `where` and the line.
std::vector<JinjaToken> TokenizeJinja(std::string_view source, std::string_view where);

}  // namespace gptq
