#include "text/jinja/run.h"

#include <utility>

namespace gptq {

using Kind = JinjaValue::Kind;

void JinjaRun::Fail(std::string_view what, std::string_view what_to_do) const {
  throw Error(what, Concat(where_, ", line ", line), what_to_do);
}

void JinjaRun::FailForGood(std::string_view what) const {
  const int64_t most = what == "steps"               ? limits_.steps
                       : what == "bytes of values"   ? limits_.bytes
                       : what == "levels of nesting" ? limits_.nesting
                                                     : limits_.output_bytes;
  Fail(Concat("the template takes more than ", most, " ", what));
}

JinjaValue JinjaRun::Text(std::string text) {
  SpendBytes(static_cast<int64_t>(text.size()));
  JinjaValue value(Kind::kText);
  value.text_ = std::make_shared<const std::string>(std::move(text));
  return value;
}

JinjaValue JinjaRun::List(std::vector<JinjaValue> items) {
  SpendBytes(static_cast<int64_t>((items.size() + 1) * sizeof(JinjaValue)));
  lists_.push_back({std::move(items)});
  JinjaValue value(Kind::kList);
  value.list_ = &lists_.back();
  return value;
}

JinjaValue JinjaRun::Tuple(std::vector<JinjaValue> items) {
  JinjaValue value = List(std::move(items));
  value.kind_ = Kind::kTuple;
  return value;
}

JinjaValue JinjaRun::Dict(std::vector<std::pair<JinjaValue, JinjaValue>> items) {
  SpendBytes(static_cast<int64_t>((2 * items.size() + 1) * sizeof(JinjaValue)));
  dicts_.push_back({std::move(items)});
  JinjaValue value(Kind::kDict);
  value.dict_ = &dicts_.back();
  return value;
}

JinjaValue JinjaRun::Namespace() {
  JinjaValue value = Dict();
  value.kind_ = Kind::kNamespace;
  return value;
}

JinjaValue JinjaRun::Function(std::string name,
                              std::function<JinjaValue(JinjaRun&, const JinjaArguments&)> call) {
  SpendBytes(sizeof(JinjaFunction));
  functions_.push_back({std::move(name), std::move(call)});
  JinjaValue value(Kind::kFunction);
  value.function_ = &functions_.back();
  return value;
}

JinjaValue JinjaRun::FromJson(const OrderedJson& json) {
  const Nested nested(*this);
  switch (json.type()) {
    case OrderedJson::value_t::boolean:
      return JinjaValue::Bool(json.get<bool>());
    case OrderedJson::value_t::number_integer:
      return JinjaValue::Integer(json.get<int64_t>());
    case OrderedJson::value_t::number_unsigned:
      if (json.get<uint64_t>() > uint64_t{INT64_MAX}) return JinjaValue::Float(json.get<double>());
      return JinjaValue::Integer(json.get<int64_t>());
    case OrderedJson::value_t::number_float:
      return JinjaValue::Float(json.get<double>());
    case OrderedJson::value_t::string:
      return Text(json.get<std::string>());
    case OrderedJson::value_t::array: {
      std::vector<JinjaValue> items;
      for (const OrderedJson& item : json) items.push_back(FromJson(item));
      return List(std::move(items));
    }
    case OrderedJson::value_t::object: {
      std::vector<std::pair<JinjaValue, JinjaValue>> items;
      for (const auto& [key, item] : json.items()) items.emplace_back(Text(key), FromJson(item));
      return Dict(std::move(items));
    }
    default:
      return JinjaValue();
  }
}

}  // namespace gptq
