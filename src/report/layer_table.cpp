#include "report/layer_table.h"

#include <algorithm>

#include "base/error.h"
#include "report/fields.h"
#include "report/html.h"

namespace gptq {
namespace {

bool IsNumber(std::string_view part) {
  return !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

std::optional<LayerName> ParseLayerName(const std::string& name) {
  std::optional<LayerName> parsed;
  for (size_t at = 0; at <= name.size();) {
    const size_t dot = std::min(name.find('.', at), name.size());
    const std::string part = name.substr(at, dot - at);
    at = dot + 1;
    if (IsNumber(part)) {
      if (!parsed) parsed = LayerName{std::stoll(part), ""};
    } else if (parsed) {
      parsed->kind += (parsed->kind.empty() ? "" : ".") + part;
    }
  }
  return parsed;
}

LayerTable::LayerTable(const Json& result) : layers_(ObjectsIn(result, "layers")) {}

std::vector<double> LayerTable::Values(const std::string& key) const {
  std::vector<double> values;
  for (const Json& layer : layers_) {
    if (const auto value = NumberIn(layer, key)) values.push_back(*value);
  }
  return values;
}

std::optional<double> LayerTable::Common(const std::string& key) const {
  const std::vector<double> values = Values(key);
  if (values.empty() || std::ranges::any_of(values, [&](double v) { return v != values[0]; }))
    return std::nullopt;
  return values[0];
}

std::vector<PlotSeries> LayerTable::Series(const std::string& key) const {
  struct Mean {
    double sum = 0, count = 0;
  };
  std::vector<std::string> kinds;  // in the order of the model
  std::map<std::string, std::map<int64_t, Mean>> means;
  for (const Json& layer : layers_) {
    const auto name = ParseLayerName(TextIn(layer, "name").value_or(""));
    const auto value = NumberIn(layer, key);
    if (!name || !value) continue;
    if (!means.contains(name->kind)) kinds.push_back(name->kind);
    Mean& mean = means[name->kind][name->block];
    mean.sum += *value;
    ++mean.count;
  }
  std::vector<PlotSeries> series;
  for (const std::string& kind : kinds) {
    PlotSeries& one = series.emplace_back(PlotSeries{kind, {}, 0});
    for (const auto& [block, mean] : means[kind])
      one.points.push_back(
          {static_cast<double>(block), mean.sum / mean.count, Concat("block ", block, ", ", kind)});
  }
  return series;
}

}  // namespace gptq
