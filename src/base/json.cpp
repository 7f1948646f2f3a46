#include "base/json.h"

#include <fstream>

#include "base/error.h"

namespace gptq {

namespace {

// Of a single line, the number of which the parser cannot know, without it.
std::string Problem(const Json::exception& e, std::string_view text) {
  constexpr std::string_view kLine = "line 1, ";
  std::string problem = e.what();
  const size_t at = problem.find(kLine);
  if (at != std::string::npos && text.find('\n') == std::string_view::npos) problem.erase(at, kLine.size());
  return problem;
}

}  // namespace

Json ParseJson(std::string_view text, std::string_view where) {
  constexpr int kMaxDepth = 200;
  const auto limit_depth = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) {
      throw Error(Concat("JSON nested deeper than ", kMaxDepth, " levels"), where, "the file is damaged");
    }
    return true;
  };
  try {
    return Json::parse(text, limit_depth);
  } catch (const Json::exception& e) {
    throw Error(Concat("not valid JSON (", Problem(e, text), ")"), where, "fetch or write the file again");
  }
}

std::string ReadTextFile(const std::filesystem::path& path, int64_t max_bytes) {
  std::error_code code;
  if (std::filesystem::is_directory(path, code))
    throw Error("a folder where a file is expected", path.string(), "give a file");
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw Error("cannot open the file", path.string(), "check the path and its permissions");
  const std::streamoff size = file.tellg();
  if (size < 0 || size > max_bytes) {
    throw Error(Concat("file of ", static_cast<int64_t>(size), " bytes, at most ", max_bytes, " are read"),
                path.string(), "is this the right file?");
  }
  std::string text(static_cast<size_t>(size), '\0');
  file.seekg(0);
  file.read(text.data(), size);
  if (!file) throw Error("cannot read the file", path.string(), "check the disk");
  return text;
}

Json ReadJsonFile(const std::filesystem::path& path) { return ParseJson(ReadTextFile(path), path.string()); }

std::string Dump(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace gptq
