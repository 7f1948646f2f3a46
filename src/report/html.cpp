#include "report/html.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace gptq {
namespace {

template <typename... Values>
std::string Printed(const char* format, Values... values) {
  char text[64];
  std::snprintf(text, sizeof(text), format, values...);
  return text;
}

std::string Cell(const char* tag, std::string_view text) {
  return std::string("<") + tag + ">" + Escape(text) + "</" + tag + ">";
}

}  // namespace

std::string Escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      case '\n':
      case '\t':
        escaped += c;
        break;
      default:
        if ((c >= 0 && c < ' ') || c == 0x7f) {
          escaped += "\xef\xbf\xbd";
        } else {
          escaped += c;
        }
    }
  }
  return escaped;
}

std::string NumberText(double value) {
  if (!std::isfinite(value)) return "–";
  const double size = std::abs(value);
  if (size >= 1000 && size < 1e7) return Printed("%.0f", value);
  return Printed("%.4g", value);
}

std::string PercentText(double share) { return std::isfinite(share) ? Printed("%.2f %%", 100 * share) : "–"; }

std::string MeasuredText(double value, std::optional<double> error) {
  if (!std::isfinite(value) || !error || !(std::isfinite(*error) && *error > 0)) return NumberText(value);
  const auto behind_point = [](double size, int digits) {
    return std::clamp(digits - 1 - static_cast<int>(std::floor(std::log10(size))), 0, 12);
  };
  const double size = std::abs(value);
  const int digits = std::max(behind_point(*error, 2), size >= 1 ? behind_point(size, 4) : 0);
  if (digits > 7) return NumberText(value) + " ± " + Printed("%.2g", *error);
  return Printed("%.*f ± %.*f", digits, value, digits, *error);
}

std::string CountText(int64_t value) {
  std::string digits = std::to_string(value);
  for (auto place = static_cast<int64_t>(digits.size()) - 3; place > (value < 0 ? 1 : 0); place -= 3)
    digits.insert(static_cast<size_t>(place), 1, ',');
  return digits;
}

std::string BytesText(double bytes) {
  if (!std::isfinite(bytes)) return "–";
  if (bytes < 1e6) return Printed("%.1f kB", bytes / 1e3);
  return bytes < 1e9 ? Printed("%.1f MB", bytes / 1e6) : Printed("%.2f GB", bytes / 1e9);
}

std::string SecondsText(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "–";
  if (seconds < 0.1) return Printed("%.0f ms", 1e3 * seconds);
  if (seconds < 100) return Printed("%.1f s", seconds);
  const auto whole = static_cast<long long>(std::llround(seconds));
  if (whole < 3600) return Printed("%lld min %02lld s", whole / 60, whole % 60);
  return Printed("%lld h %02lld min", whole / 3600, whole / 60 % 60);
}

std::string Html(const HtmlTable& table) {
  if (table.rows.empty()) return "";
  std::string html = "<div class=\"wide\"><table><thead><tr>";
  for (const std::string& title : table.header) html += Cell("th", title);
  html += "</tr></thead><tbody>\n";
  for (const std::vector<std::string>& row : table.rows) {
    html += "<tr>";
    for (const std::string& cell : row) html += Cell("td", cell);
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string FactsHtml(const Facts& facts) {
  std::string html = "<dl>";
  for (const auto& [name, value] : facts) html += Cell("dt", name) + Cell("dd", value);
  return html + "</dl>\n";
}

std::string Heading(std::string_view text) { return Cell("h2", text) + "\n"; }
std::string Paragraph(std::string_view text) { return Cell("p", text) + "\n"; }

std::string Folded(std::string_view title, const std::string& html) {
  if (html.empty()) return "";
  return "<details>" + Cell("summary", title) + "\n" + html + "</details>\n";
}

}  // namespace gptq
