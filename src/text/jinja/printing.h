// Values as text, as Python prints them.
#pragma once

#include <string>

#include "text/jinja/value.h"

namespace gptq {

std::string ToText(const JinjaValue& value, JinjaRun& run);  // str(value)

struct JsonStyle {
  int indent = -1;  // spaces a level; < 0: one line
  bool ascii = false;
  bool sort_keys = false;
  std::string item_separator = ", ";  // "," before a line break
  std::string key_separator = ": ";
};
std::string ToJson(const JinjaValue& value, const JsonStyle& style, JinjaRun& run);  // json.dumps(value)

}  // namespace gptq
