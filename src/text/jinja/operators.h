// What the operators of expressions do.
#pragma once

#include <string_view>

#include "text/jinja/value.h"

namespace gptq {

// left op right; op: + - ~ * / // % **. Fails for values that have no such operator.
JinjaValue Operate(std::string_view op, const JinjaValue& left, const JinjaValue& right, JinjaRun& run);
JinjaValue Negative(const JinjaValue& value, JinjaRun& run);
// item in container
bool Contains(const JinjaValue& container, const JinjaValue& item, JinjaRun& run);

// value.name: a method, or what a mapping has under the name; else undefined.
JinjaValue GetMember(const JinjaValue& value, std::string_view name, JinjaRun& run);
// value[key]: what a mapping or a sequence has there, or a method; else undefined.
JinjaValue GetItem(const JinjaValue& value, const JinjaValue& key, JinjaRun& run);
// value[from:to:step], each an integer or None.
JinjaValue GetSlice(const JinjaValue& value, const JinjaValue& from, const JinjaValue& to,
                    const JinjaValue& step, JinjaRun& run);

JinjaValue Call(const JinjaValue& function, const JinjaArguments& arguments, JinjaRun& run);

// Fails for an undefined value.
void RequireDefined(const JinjaValue& value, JinjaRun& run);
// Characters of a text, items of a container.
int64_t Length(const JinjaValue& value, JinjaRun& run);
// Where `part` begins in `text` from `from` on; npos where it does not. Linear in the text.
size_t FindText(std::string_view text, std::string_view part, size_t from, JinjaRun& run);

}  // namespace gptq
