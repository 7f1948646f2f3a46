#include "report/report.h"

#include <algorithm>

#include "base/error.h"
#include "report/fields.h"
#include "report/html.h"
#include "report/page.h"
#include "report/sections.h"

namespace gptq {
namespace {

// An argument as it is typed in a shell.
std::string Typed(const std::string& argument) {
  const bool plain = !argument.empty() && std::ranges::all_of(argument, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("-_./,=:+@%").find(c) != std::string::npos;
  });
  if (plain) return argument;
  std::string typed = "'";
  for (const char c : argument) typed += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return typed + "'";
}

std::string CommandLine(const Json& result) {
  const Json& arguments = FieldOf(result, "arguments");
  if (!arguments.is_array() || arguments.empty()) return "";
  std::string line = "gptq";
  for (const Json& argument : arguments) {
    if (argument.is_string()) line += Concat(" ", Typed(argument.get<std::string>()));
  }
  return line;
}

std::string WhatWasDone(const Json& result) {
  Facts facts;
  if (const std::string line = CommandLine(result); !line.empty()) facts.emplace_back("command", line);
  if (const auto version = TextIn(result, "version")) facts.emplace_back("version", "gptq " + *version);
  if (const auto seconds = NumberIn(result, "seconds")) facts.emplace_back("time", SecondsText(*seconds));
  if (const auto bytes = NumberIn(result, "peak_memory_bytes"))
    facts.emplace_back("peak memory", BytesText(*bytes));
  return facts.empty() ? "" : FactsHtml(facts);
}

std::string SectionOf(const Json& result) {
  const std::string command = TextIn(result, "command").value_or("");
  if (command == "quantize") return QuantizeSection(result) + WhatWasDone(result);
  if (command == "evaluate") return EvaluateSection(result) + WhatWasDone(result);
  if (command == "compare") return CompareSection(result) + WhatWasDone(result);
  return "";
}

std::string TitleOf(const std::vector<Json>& results) {
  if (results.size() != 1) return Concat("gptq: ", results.size(), " results");
  return "gptq " + TextIn(results[0], "command").value_or("report");
}

void CheckResult(const Json& result, const std::string& where) {
  if (TextIn(result, "command")) return;
  throw Error("not a result of this program", where, "give files that a command has printed with --json");
}

}  // namespace

std::string ReportPage(const std::vector<Json>& results) {
  std::string body = results.size() > 1 ? RunsSection(results) : "";
  for (const Json& result : results) {
    const std::string section = SectionOf(result);
    if (!section.empty()) body += "<section>\n" + section + "</section>\n";
  }
  return Page(TitleOf(results), body);
}

bool IsReportPage(std::string_view text) { return IsPage(text, "gptq"); }

std::vector<Json> ParseResults(std::string_view text, std::string_view where) {
  std::vector<Json> results;
  if (Json whole = Json::parse(text, nullptr, /*allow_exceptions=*/false); whole.is_object()) {
    results.push_back(ParseJson(text, where));
    CheckResult(results.back(), std::string(where));
    return results;
  }
  int64_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = Concat(where, ", line ", number);
    results.push_back(ParseJson(line, place));
    CheckResult(results.back(), place);
  }
  if (results.empty()) throw Error("no results", where, "give files that a command has printed with --json");
  return results;
}

}  // namespace gptq
