#include "base/ordered_json.h"

#include "base/json.h"

namespace gptq {

OrderedJson ParseOrderedJson(std::string_view text, std::string_view where) {
  ParseJson(text, where);  // the errors
  return OrderedJson::parse(text);
}

}  // namespace gptq
