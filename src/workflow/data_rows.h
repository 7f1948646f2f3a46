// Rows of evaluation data: JSON lines, a JSON array, or a table of comma-separated values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace gptq {

constexpr std::string_view kWhiteSpace = " \t\r\n\v\f";

struct DataRow {
  int64_t line = 0;  // where it begins, from 1; of a JSON array: its place in it
  Json fields;       // an object; of a table all values are texts
};

// By the name's extension a table (.csv), else by the first character an array or lines. Throws Error naming
// the file and the line for anything malformed, and for a file without rows.
std::vector<DataRow> ReadDataRows(const std::filesystem::path& path);
std::vector<DataRow> ParseJsonRows(std::string_view text, std::string_view where);
// RFC 4180: quoted values may hold commas, line ends and doubled quotes. The first row names the columns.
std::vector<DataRow> ParseTableRows(std::string_view text, std::string_view where);

}  // namespace gptq
