// A page about results: what was done, tables, plots. One HTML file that needs nothing else.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace gptq {

// `results`: JSON as the commands print it (--json), and lines of gptq sweep. Of more than one, a comparison
// of the runs comes first. Keys that are missing are left out of the page.
std::string ReportPage(const std::vector<Json>& results);
// Whether a file that begins with `text` is such a page.
bool IsReportPage(std::string_view text);

// Results in a file: one JSON object, or one a line; none in the file of a sweep's settings. Throws Error
// naming the file, and the line, for anything else and for objects that no page can be about.
std::vector<Json> ParseResults(std::string_view text, std::string_view where);

}  // namespace gptq
