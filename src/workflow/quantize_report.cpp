#include "workflow/quantize_report.h"

namespace gptq {
namespace {

Json OrNull(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

std::optional<double> OptionalFrom(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional(json.get<double>());
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
          {"tokens", layer.tokens ? Json(*layer.tokens) : Json()},
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
  layer.loss = OptionalFrom(json.at("loss"));
  layer.relative_error = OptionalFrom(json.at("relative_error"));
  layer.damping = OptionalFrom(json.at("damping"));
  layer.seconds = json.at("seconds").get<double>();
  if (json.at("tokens").is_number()) layer.tokens = json.at("tokens").get<int64_t>();
  if (json.at("fallback").is_string()) layer.fallback = json.at("fallback").get<std::string>();
  return layer;
}

}  // namespace

Json ToJson(const WorkReport& work) {
  Json layers = Json::array();
  for (const LayerReport& layer : work.layers) layers.push_back(ToJson(layer));
  return {{"layers", std::move(layers)},
          {"stages", work.stage_seconds},
          {"forward_flops", work.forward_flops},
          {"hessian_flops", work.hessian_flops}};
}

WorkReport WorkReportFrom(const Json& json) {
  WorkReport work;
  for (const Json& layer : json.at("layers")) work.layers.push_back(LayerReportFrom(layer));
  work.stage_seconds = json.at("stages").get<std::map<std::string, double>>();
  work.forward_flops = json.at("forward_flops").get<double>();
  work.hessian_flops = json.at("hessian_flops").get<double>();
  return work;
}

Json ToJson(const QuantizeReport& report) {
  Json json = ToJson(static_cast<const WorkReport&>(report));
  json["output"] = report.output.string();
  json["bits_per_weight"] = report.bits_per_weight;
  json["calibration"] = {{"samples", report.calibration_samples},
                         {"tokens", report.calibration_tokens},
                         {"sink_sequences", report.sink_sequences}};
  json["memory"] = {{"planned_bytes", report.planned_bytes}, {"spilled_bytes", report.spilled_bytes}};
  json["resumed_blocks"] = report.resumed_blocks;
  json["self_check"] = Json();
  if (report.self_check) {
    json["self_check"] = {{"relative_error", report.self_check->relative_error},
                          {"tokens", report.self_check->tokens}};
  }
  return json;
}

}  // namespace gptq
