#include "model/spec.h"

#include <map>

#include "base/error.h"

namespace gptq {
namespace {

constexpr int64_t kMaxWidth = int64_t{1} << 20;

// Reads fields of one config; every problem names the field and the file.
class FieldReader {
 public:
  FieldReader(const Architecture& architecture, const Json& config, std::string_view where)
      : architecture_(architecture), config_(config), where_(where) {}

  int64_t Count(const std::string& field, int64_t fallback, int64_t maximum = kMaxWidth) const {
    const Json value = architecture_.Field(field, config_, where_);
    if (value.is_null() && fallback > 0) return fallback;
    if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > maximum) {
      throw Error(Concat(field, " is ", Dump(value), ", must be a whole number from 1 to ", maximum), where_,
                  "is this the config.json of a decoder, and undamaged?");
    }
    return value.get<int64_t>();
  }

  double Number(const std::string& field, double fallback, double low, double high) const {
    const Json value = architecture_.Field(field, config_, where_);
    if (value.is_null()) return fallback;
    if (!value.is_number() || !(value.get<double>() >= low && value.get<double>() <= high)) {
      throw Error(Concat(field, " is ", Dump(value), ", must be a number from ", low, " to ", high), where_,
                  "correct the file");
    }
    return value.get<double>();
  }

  bool Flag(const std::string& field, bool fallback) const {
    const Json value = architecture_.Field(field, config_, where_);
    if (value.is_null()) return fallback;
    if (!value.is_boolean())
      throw Error(Concat(field, " is ", Dump(value), ", must be true or false"), where_, "correct the file");
    return value.get<bool>();
  }

  template <typename T>
  T Choice(const std::string& field, const std::map<std::string, T>& known) const {
    const Json value = architecture_.Field(field, config_, where_);
    if (value.is_string()) {
      const auto found = known.find(value.get<std::string>());
      if (found != known.end()) return found->second;
    }
    std::string names;
    for (const auto& [name, ignored] : known) names += (names.empty() ? "" : ", ") + name;
    throw Error(Concat(field, " is ", Dump(value), ", which this program does not know"), where_,
                "known are " + names);
  }

 private:
  const Architecture& architecture_;
  const Json& config_;
  std::string_view where_;
};

void ReadSizes(const FieldReader& read, ModelSpec* spec) {
  spec->hidden = read.Count("hidden", 0);
  spec->intermediate = read.Count("intermediate", 0);
  spec->layers = read.Count("layers", 0, 10000);
  spec->heads = read.Count("heads", 0, 65536);
  spec->kv_heads = read.Count("kv_heads", spec->heads, 65536);
  if (spec->heads % spec->kv_heads != 0) {
    throw Error(Concat(spec->heads, " heads cannot share ", spec->kv_heads, " key/value heads evenly"),
                spec->where, "correct the file");
  }
  const bool divides = spec->hidden % spec->heads == 0;
  spec->head_dim = read.Count("head_dim", divides ? spec->hidden / spec->heads : 0, 65536);
  spec->vocabulary = read.Count("vocabulary", 0, int64_t{1} << 26);
  spec->embedding_width = read.Count("embedding_width", spec->hidden);
  spec->max_positions = read.Count("max_positions", 0, int64_t{1} << 30);
}

void CheckRequiredValues(const Architecture& architecture, const Json& config, std::string_view where) {
  if (!architecture.json.contains("required_values")) return;
  for (const auto& [key, value] : architecture.json.at("required_values").items()) {
    if (config.contains(key) && !config.at(key).is_null() && config.at(key) != value) {
      throw Error(
          Concat("key '", key, "' is ", Dump(config.at(key)), "; only ", Dump(value), " is supported"), where,
          "describe the model in an architecture file and pass it by --architecture");
    }
  }
}

}  // namespace

std::string ModelSpec::Name(std::string_view role, int64_t block_number) const {
  if (!Has(role)) {
    throw Error(Concat("architecture '", architecture, "' names no tensor for '", role, "'"), where,
                "add it to the architecture file");
  }
  auto name = tensor_names.at(std::string(role)).get<std::string>();
  const size_t place = name.find("{block}");
  if (place != std::string::npos) name.replace(place, 7, std::to_string(block_number));
  return name;
}

ModelSpec BuildSpec(const Architecture& architecture, const Json& config, std::string_view where) {
  if (!config.is_object()) throw Error("not a JSON object", where, "is this a model's config.json?");
  ModelSpec spec;
  spec.architecture = architecture.name;
  spec.where = where;
  spec.tensor_names = architecture.json.at("tensors");
  CheckRequiredValues(architecture, config, where);

  const FieldReader read(architecture, config, where);
  ReadSizes(read, &spec);
  spec.block = read.Choice<BlockShape>(
      "block", {{"pre_norm", BlockShape::kPreNorm}, {"post_norm", BlockShape::kPostNorm}});
  spec.norm = read.Choice<NormKind>("norm", {{"rms", NormKind::kRms}, {"layer", NormKind::kLayer}});
  spec.norm_epsilon = read.Number("norm_epsilon", 1e-5, 0, 1);
  spec.activation =
      read.Choice<ActivationKind>("activation", {{"silu", ActivationKind::kSilu},
                                                 {"swish", ActivationKind::kSilu},
                                                 {"relu", ActivationKind::kRelu},
                                                 {"gelu", ActivationKind::kGelu},
                                                 {"gelu_new", ActivationKind::kGeluTanh},
                                                 {"gelu_pytorch_tanh", ActivationKind::kGeluTanh}});
  spec.gated = read.Flag("gated", true);
  spec.tied_head = read.Flag("tied_head", false);
  spec.positions = read.Choice<PositionKind>(
      "positions", {{"rotary", PositionKind::kRotary}, {"learned", PositionKind::kLearned}});
  if (spec.positions == PositionKind::kLearned) {
    spec.position_offset = static_cast<int64_t>(read.Number("position_offset", 0, 0, 1024));
  } else {
    if (spec.head_dim % 2 != 0)
      throw Error(Concat("rotary heads of odd width ", spec.head_dim), where, "correct the file");
    spec.rotary = ReadRotarySpec(config, read.Number("rotary_base", 10000.0, 1e-9, 1e15), spec.head_dim,
                                 static_cast<double>(spec.max_positions), where);
  }
  return spec;
}

}  // namespace gptq
