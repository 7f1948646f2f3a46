#include "report/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "report/html.h"
#include "report/plot_scale.h"

namespace gptq {
namespace {

// Of the SVG's own units: about as wide as a phone, so that its letters stay readable there.
constexpr double kWidth = 420, kHeight = 250;
constexpr double kLeft = 60, kRight = 12, kTop = 10, kBottom = 40;
constexpr int kColors = 8;

std::string Fixed(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", value);
  return text;
}

std::string TextAt(double x, double y, const char* kind, std::string_view text) {
  return "<text x=\"" + Fixed(x) + "\" y=\"" + Fixed(y) + "\" class=\"" + kind + "\">" + Escape(text) +
         "</text>\n";
}

std::string LineBetween(double x1, double y1, double x2, double y2) {
  return "<line x1=\"" + Fixed(x1) + "\" y1=\"" + Fixed(y1) + "\" x2=\"" + Fixed(x2) + "\" y2=\"" +
         Fixed(y2) + "\"/>\n";
}

std::string ColorClass(size_t series) { return Concat("c", series % kColors); }

std::string Figure(const std::string& title, double height, const std::string& drawing,
                   const std::string& legend = "") {
  return "<figure><figcaption>" + Escape(title) + "</figcaption>\n<svg viewBox=\"0 0 " + Fixed(kWidth) + " " +
         Fixed(height) + "\" role=\"img\" aria-label=\"" + Escape(title) + "\">\n" + drawing + "</svg>\n" +
         legend + "</figure>\n";
}

bool IsFinite(const PlotPoint& point) { return std::isfinite(point.x) && std::isfinite(point.y); }

// Short enough for the margin.
std::string MarkText(double value) {
  const double size = std::abs(value);
  if (size == 0 || (size >= 1e-3 && size < 1e4)) return NumberText(value);
  const int power = static_cast<int>(std::floor(std::log10(size) + 1e-9));
  const double factor = value / std::pow(10.0, power);
  return Concat(std::round(factor * 10) / 10, "e", power);
}

// What is to be drawn: finite points in the order of x; where some y have a logarithm, only those.
std::vector<PlotSeries> Drawable(const std::vector<PlotSeries>& series, bool logarithmic) {
  const bool positive =
      logarithmic && std::ranges::any_of(series, [](const PlotSeries& one) {
        return std::ranges::any_of(one.points, [](const PlotPoint& p) { return IsFinite(p) && p.y > 0; });
      });
  std::vector<PlotSeries> drawable;
  for (PlotSeries one : series) {
    std::erase_if(one.points,
                  [&](const PlotPoint& point) { return !IsFinite(point) || (positive && point.y <= 0); });
    std::ranges::stable_sort(one.points, {}, &PlotPoint::x);
    if (!one.points.empty()) drawable.push_back(std::move(one));
  }
  return drawable;
}

struct Range {
  double low = 0, high = 0;
};

// What the line of the error spans.
Range ErrorRange(const PlotPoint& point, bool logarithmic) {
  if (!(point.error > 0)) return {point.y, point.y};
  Range range{point.y - point.error, point.y + point.error};
  if (logarithmic && point.y > 0) {
    const double factor = std::exp(point.error / point.y);
    range = {point.y / factor, point.y * factor};
  }
  return std::isfinite(range.low) && std::isfinite(range.high) ? range : Range{point.y, point.y};
}

template <typename RangeOf>
PlotScale ScaleOf(const std::vector<PlotSeries>& series, RangeOf range_of, bool logarithmic, double from,
                  double to) {
  Range whole = range_of(series.front().points.front());
  for (const PlotSeries& one : series) {
    for (const PlotPoint& point : one.points) {
      const Range range = range_of(point);
      whole = {std::min(whole.low, range.low), std::max(whole.high, range.high)};
    }
  }
  return {whole.low, whole.high, logarithmic && whole.low > 0, from, to};
}

std::string Grid(const Plot& plot, const PlotScale& x, const PlotScale& y) {
  const double right = kWidth - kRight, bottom = kHeight - kBottom;
  std::string lines, texts;
  for (const double mark : y.Marks(5)) {
    lines += LineBetween(kLeft, y.At(mark), right, y.At(mark));
    texts += TextAt(kLeft - 6, y.At(mark) + 4, "end", MarkText(mark));
  }
  for (const double mark : x.Marks(7)) {
    lines += LineBetween(x.At(mark), bottom, x.At(mark), bottom + 4);
    texts += TextAt(x.At(mark), bottom + 16, "middle", MarkText(mark));
  }
  texts += TextAt((kLeft + right) / 2, kHeight - 6, "middle", plot.x.title);
  texts += "<text transform=\"translate(12 " + Fixed((kTop + bottom) / 2) +
           ") rotate(-90)\" class=\"middle\">" + Escape(plot.y.title) + "</text>\n";
  return "<g class=\"grid\">" + lines + "</g>\n" + texts;
}

std::string SeriesDrawing(const PlotSeries& series, bool logarithmic, const PlotScale& x,
                          const PlotScale& y) {
  std::string path, dots;
  for (const PlotPoint& point : series.points) {
    const std::string place_x = Fixed(x.At(point.x)), place_y = Fixed(y.At(point.y));
    path += (path.empty() ? "" : " ") + place_x + "," + place_y;
    if (const Range range = ErrorRange(point, logarithmic); range.low < range.high)
      dots += LineBetween(x.At(point.x), y.At(range.low), x.At(point.x), y.At(range.high));
    dots += "<circle cx=\"" + place_x + "\" cy=\"" + place_y + "\" r=\"2.6\"><title>" +
            Escape(point.label.empty() ? series.name : point.label) + ": " +
            MeasuredText(point.y, point.error) + "</title></circle>\n";
  }
  return "<g class=\"series " + ColorClass(series.color) + "\"><polyline points=\"" + path + "\"/>\n" + dots +
         "</g>\n";
}

std::string Legend(const std::vector<PlotSeries>& series) {
  if (series.size() < 2) return "";
  std::string items;
  for (const PlotSeries& one : series)
    items += "<li class=\"" + ColorClass(one.color) + "\">" + Escape(one.name) + "</li>";
  return "<ul class=\"legend\">" + items + "</ul>\n";
}

}  // namespace

std::string Html(const Plot& plot) {
  std::vector<PlotSeries> series = Drawable(plot.series, plot.y.logarithmic);
  if (series.empty()) return "";
  for (size_t i = 0; i < series.size() && !plot.colored; ++i) series[i].color = i;
  const bool logarithmic = plot.y.logarithmic;
  const PlotScale x = ScaleOf(
      series,
      [](const PlotPoint& p) {
        return Range{p.x, p.x};
      },
      plot.x.logarithmic, kLeft, kWidth - kRight);
  const PlotScale y = ScaleOf(
      series, [&](const PlotPoint& p) { return ErrorRange(p, logarithmic); }, logarithmic, kHeight - kBottom,
      kTop);
  std::string drawing = Grid(plot, x, y);
  for (const PlotSeries& one : series) drawing += SeriesDrawing(one, logarithmic, x, y);
  return Figure(plot.title, kHeight, drawing, Legend(series));
}

std::string BarsHtml(const std::string& title, const std::vector<Bar>& bars) {
  constexpr double kRow = 24, kNames = 110, kTexts = 86;
  double most = 0, top = 4;
  for (const Bar& bar : bars) most = std::isfinite(bar.value) ? std::max(most, bar.value) : most;
  std::string drawing;
  for (const Bar& bar : bars) {
    if (!std::isfinite(bar.value) || bar.value < 0) continue;
    const double width = most > 0 ? bar.value / most * (kWidth - kNames - kTexts) : 0;
    drawing += TextAt(kNames - 8, top + 15, "end", bar.name);
    drawing += "<rect class=\"c0\" x=\"" + Fixed(kNames) + "\" y=\"" + Fixed(top + 3) + "\" width=\"" +
               Fixed(std::max(width, 1.0)) + "\" height=\"" + Fixed(kRow - 8) + "\" rx=\"2\"/>\n";
    drawing += TextAt(kNames + width + 6, top + 15, "start", bar.text);
    top += kRow;
  }
  return drawing.empty() ? "" : Figure(title, top + 4, drawing);
}

std::string FiguresHtml(const std::vector<std::string>& figures) {
  std::string html;
  for (const std::string& figure : figures) html += figure;
  return html.empty() ? "" : "<div class=\"figures\">\n" + html + "</div>\n";
}

}  // namespace gptq
