#include "workflow/quantize_report.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/hash.h"

namespace gptq {
namespace {

template <typename Number>
std::optional<Number> OptionalFrom(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional(json.get<Number>());
}

// In pages: cheaper than what /proc/self/status counts together.
int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t all = 0, resident = 0;
  return file >> all >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

// Options by their names; what else decides the result are hashes.
Json OptionsOf(const Json& settings) {
  Json options = Json::object();
  for (const auto& [name, value] : settings.items()) {
    if (name.starts_with("--")) options[name] = value;
  }
  return options;
}

Json HashOf(const Json& settings, const char* name) {
  const auto found = settings.find(name);
  return found == settings.end() ? Json() : Json(HashName(found->get<uint64_t>()));
}

Json ToJson(const LayerReport& layer) {
  return {{"name", layer.name},
          {"rows", layer.rows},
          {"columns", layer.columns},
          {"bits", layer.bits},
          {"group_size", layer.group_size},
          {"type", layer.type.empty() ? Json() : Json(layer.type)},
          {"loss", OrNull(layer.loss)},
          {"relative_error", OrNull(layer.relative_error)},
          {"damping", OrNull(layer.damping)},
          {"seconds", layer.seconds},
          {"tokens", OrNull(layer.tokens)},
          {"dead_inputs", OrNull(layer.dead_inputs)},
          {"outlier_inputs", OrNull(layer.outlier_inputs)},
          {"fallback", layer.fallback.empty() ? Json() : Json(layer.fallback)}};
}

LayerReport LayerReportFrom(const Json& json) {
  LayerReport layer;
  layer.name = json.at("name").get<std::string>();
  layer.rows = json.at("rows").get<int64_t>();
  layer.columns = json.at("columns").get<int64_t>();
  layer.bits = json.at("bits").get<int>();
  layer.group_size = json.at("group_size").get<int64_t>();
  if (json.at("type").is_string()) layer.type = json.at("type").get<std::string>();
  layer.loss = OptionalFrom<double>(json.at("loss"));
  layer.relative_error = OptionalFrom<double>(json.at("relative_error"));
  layer.damping = OptionalFrom<double>(json.at("damping"));
  layer.seconds = json.at("seconds").get<double>();
  layer.tokens = OptionalFrom<int64_t>(json.at("tokens"));
  layer.dead_inputs = OptionalFrom<int64_t>(json.at("dead_inputs"));
  layer.outlier_inputs = OptionalFrom<int64_t>(json.at("outlier_inputs"));
  if (json.at("fallback").is_string()) layer.fallback = json.at("fallback").get<std::string>();
  return layer;
}

}  // namespace

Json ToJson(const WorkReport& work) {
  Json layers = Json::array();
  for (const LayerReport& layer : work.layers) layers.push_back(ToJson(layer));
  return {{"layers", std::move(layers)},
          {"stages", work.stage_seconds},
          {"stage_memory_bytes", work.stage_memory},
          {"forward_flops", work.forward_flops},
          {"hessian_flops", work.hessian_flops}};
}

WorkReport WorkReportFrom(const Json& json) {
  WorkReport work;
  for (const Json& layer : json.at("layers")) work.layers.push_back(LayerReportFrom(layer));
  work.stage_seconds = json.at("stages").get<std::map<std::string, double>>();
  work.stage_memory = json.at("stage_memory_bytes").get<std::map<std::string, int64_t>>();
  work.forward_flops = json.at("forward_flops").get<double>();
  work.hessian_flops = json.at("hessian_flops").get<double>();
  return work;
}

Json ToJson(const QuantizeReport& report) {
  Json json = ToJson(static_cast<const WorkReport&>(report));
  json["source"] = report.source.string();
  json["source_hash"] = HashOf(report.settings, "the model's tensors");
  json["output"] = report.output.string();
  json["settings"] = OptionsOf(report.settings);
  json["bits_per_weight"] = report.bits_per_weight;
  json["mean_relative_error"] = OrNull(report.MeanRelativeError());
  json["calibration"] = {
      {"samples", report.calibration_samples},
      {"tokens", report.calibration_tokens},
      {"sequence_length",
       report.calibration_samples > 0 ? report.calibration_tokens / report.calibration_samples : 0},
      {"sink_sequences", report.sink_sequences}};
  json["calibration_hash"] = HashOf(report.settings, "the calibration");
  json["memory"] = {{"planned_bytes", report.planned_bytes}, {"spilled_bytes", report.spilled_bytes}};
  json["resumed_blocks"] = report.resumed_blocks;
  json["self_check"] = Json();
  if (report.self_check) {
    json["self_check"] = {{"relative_error", report.self_check->relative_error},
                          {"tokens", report.self_check->tokens}};
  }
  return json;
}

std::optional<double> WorkReport::MeanRelativeError() const {
  double sum = 0, count = 0;
  for (const LayerReport& layer : layers) {
    if (!layer.relative_error) continue;
    sum += *layer.relative_error;
    ++count;
  }
  return count > 0 ? std::optional(sum / count) : std::nullopt;
}

StageTimer::~StageTimer() { *memory_ = std::max(*memory_, ResidentBytes()); }

}  // namespace gptq
