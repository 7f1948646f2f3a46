// JSON whose objects keep their members in the order in which they were written, for texts in which that
// order shows.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace gptq {

using OrderedJson = nlohmann::ordered_json;

// As ParseJson of base/json.h.
OrderedJson ParseOrderedJson(std::string_view text, std::string_view where);

}  // namespace gptq
