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

// Has what a page is about.
bool HasResult(const std::string& command, const Json& result) {
  if (command == "quantize") return FieldOf(result, "layers").is_array();
  if (command == "compare") return NumberIn(result, "kl_mean").has_value();
  if (command == "sweep") return FieldOf(result, "texts").is_array() && FieldOf(result, "tasks").is_array();
  return NumberIn(result, "perplexity") || NumberIn(result, "accuracy") ||
         NumberIn(result, "stereotype_score");
}

void CheckResult(const Json& result, const std::string& where) {
  constexpr const char* kAdvice =
      "give files that quantize, evaluate, compare or sweep have printed with --json";
  const auto command = TextIn(result, "command");
  if (!command) throw Error("not a result of this program", where, kAdvice);
  const bool known =
      *command == "quantize" || *command == "evaluate" || *command == "compare" || *command == "sweep";
  if (!known) throw Error(Concat("there is no page about a result of `", *command, "`"), where, kAdvice);
  if (!HasResult(*command, result))
    throw Error(Concat("a result of `", *command, "` in which nothing was measured"), where, kAdvice);
}

// The file that a sweep keeps beside its results.
bool IsSweepSettings(const Json& object) {
  return !object.contains("command") && object.contains("texts") && object.contains("tasks") &&
         object.contains("calibration_length");
}

// One object, or what a sweep has printed: all of its lines.
std::vector<Json> ResultsIn(const Json& object, const std::string& where) {
  if (IsSweepSettings(object)) return {};
  std::vector<Json> results;
  const bool sweep = TextIn(object, "command") == "sweep" && FieldOf(object, "settings").is_array();
  if (sweep) {
    results = ObjectsIn(object, "settings");
  } else {
    results.push_back(object);
  }
  for (const Json& result : results) CheckResult(result, where);
  return results;
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
  if (Json whole = Json::parse(text, nullptr, /*allow_exceptions=*/false); whole.is_object()) {
    return ResultsIn(ParseJson(text, where), std::string(where));
  }
  std::vector<Json> results;
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
