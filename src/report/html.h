// Small pieces of HTML, and numbers as people read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gptq {

// For text and for attribute values in quotes. Everything that comes from a file or a command line goes
// through it. Control characters become U+FFFD.
std::string Escape(std::string_view text);

// Four significant digits; "–" for what is not finite.
std::string NumberText(double value);
std::string PercentText(double share);
// "26.06 ± 1.03": the error with two significant digits, the value as finely, or with four if it is 1 or
// more. Without an error, and where it is 0, as NumberText.
std::string MeasuredText(double value, std::optional<double> error);
std::string CountText(int64_t value);     // 1,234,567
std::string BytesText(double bytes);      // 12.3 MB
std::string SecondsText(double seconds);  // 3 min 20 s

// Cells are texts, escaped here. The first column is to the left, all others, numbers, to the right.
struct HtmlTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};
// Wide ones scroll by themselves. "" without rows.
std::string Html(const HtmlTable& table);

// Names and what belongs to them.
using Facts = std::vector<std::pair<std::string, std::string>>;
std::string FactsHtml(const Facts& facts);

std::string Heading(std::string_view text);  // of a section
std::string Paragraph(std::string_view text);
// `html` as it is, folded away under a title.
std::string Folded(std::string_view title, const std::string& html);

}  // namespace gptq
