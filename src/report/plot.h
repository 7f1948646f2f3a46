// Plots as inline SVG figures. Colours come from the page's style, so that they follow light and dark.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace gptq {

struct PlotPoint {
  double x = 0, y = 0;
  std::string label;  // shown when pointed at
  double error = 0;   // of y, drawn as a line; on a logarithmic axis the factor exp(error / y) to both sides
};

struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;  // joined by a line in the order of x
  size_t color = 0;               // number of its colour, where `Plot::colored`
};

struct Axis {
  std::string title;
  // x: taken as linear where a value is not positive; y: where none is, and otherwise leaves out those that
  // are not.
  bool logarithmic = false;
};

struct Plot {
  std::string title;
  Axis x, y;
  std::vector<PlotSeries> series;
  bool colored =
      false;  // series have their own colours, to be the same in several plots; else by their order
};

struct Bar {
  std::string name;
  double value = 0;
  std::string text;  // the value as people read it
};

// A figure with title and legend. Points that are not finite are left out; "" where none is left.
std::string Html(const Plot& plot);
// Horizontal bars from 0; negative values and those that are not finite are left out.
std::string BarsHtml(const std::string& title, const std::vector<Bar>& bars);
// Figures beside each other where there is room.
std::string FiguresHtml(const std::vector<std::string>& figures);

}  // namespace gptq
