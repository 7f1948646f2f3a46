#include "workflow/convert_plan.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/gguf_block.h"
#include "model/gguf_layout.h"
#include "quant/gguf_format.h"
#include "workflow/rounding_error.h"

namespace gptq {
namespace {

// Names of the model's linears: all of a plain model or a GGUF file, the quantized ones of a folder.
std::vector<std::string> LinearNames(ModelFiles& model, Backend& backend) {
  std::vector<std::string> names;
  if (model.quantization()) {
    const WeightFormat format = model.quantization()->settings.format;
    for (const std::string& tensor : model.reader().names()) {
      const std::optional<std::string> module = ModuleOf(tensor, format);
      if (module && tensor == CodesName(*module, format)) names.push_back(*module);
    }
    return names;
  }
  const std::unique_ptr<Decoder> decoder = model.LoadDecoder(backend, 1);
  for (const Block& block : decoder->blocks()) {
    for (const Stage& stage : block.stages()) {
      for (const LinearLayer& linear : stage.linears) names.push_back(linear.name);
    }
  }
  model.source().ReleaseAll();
  return names;
}

LinearSettings SettingsFor(const PackedWeight& weight, WeightFormat format) {
  const bool whole_rows = weight.group_size >= weight.columns;
  return {weight.bits, whole_rows ? -1 : weight.group_size, weight.symmetric, format};
}

std::string Describe(const PackedWeight& weight) {
  const std::string groups =
      weight.group_size >= weight.columns ? "whole rows" : Concat("groups of ", weight.group_size);
  return Concat(weight.bits, " bits, ", groups, weight.symmetric ? "" : ", asymmetric",
                weight.SequentialGroups() ? "" : ", activation order");
}

int64_t BytesOf(const std::string& module, const OutputLinear& linear, WeightFormat format) {
  if (format == WeightFormat::kGguf || linear.settings.format == WeightFormat::kPlain)
    return ByteSize(linear.type, linear.shape.rows * linear.shape.columns);
  int64_t bytes = 0;
  for (const TensorDeclaration& tensor : DeclareLinear(module, linear.shape, linear.settings))
    bytes += ByteSize(tensor.dtype, ElementCount(tensor.shape));
  return bytes;
}

class Planner {
 public:
  Planner(ModelFiles& model, const ConvertOptions& options, ThreadPool& pool)
      : model_(model), options_(options), pool_(pool) {}

  void Add(const std::string& module) {
    linears_.insert(module);
    std::optional<PackedWeight> weight = LoadCodes(model_, module);
    if (model_.is_gguf() && options_.format == WeightFormat::kGguf) {
      AddStored(module);  // every block is copied as it is, or rounded from its values
    } else if (weight) {
      AddCodes(module, *weight);
    } else {
      AddStored(module);
    }
    model_.source().Release(module);
  }

  // Matrices that are no linears, embedding and head, where they become something else.
  void AddOthers() {
    if (to_gguf()) {
      AddEnds();
    } else if (model_.is_gguf()) {
      AddUnpacked();
    }
  }

  ConvertPlan Finish(Progress& progress);

 private:
  bool to_gguf() const { return options_.format == WeightFormat::kGguf; }

  void AddEnds() {
    const ModelSpec& spec = model_.spec();
    std::map<std::string, DType> asked;
    AddEndTypes(spec, options_.ends, asked);
    std::vector<std::string> ends{spec.Name("embedding")};
    if (spec.Has("head") && !spec.tied_head) ends.push_back(spec.Name("head"));
    for (const std::string& module : ends) {
      const auto wanted = asked.find(module);
      const auto coded = plan_.linears.find(module);
      if (coded != plan_.linears.end()) {
        if (wanted != asked.end()) RetypeCodes(module, wanted->second, coded->second);
        continue;
      }
      const std::optional<CheckpointSource::Stored> stored = model_.source().Find(module, "weight");
      if (!stored) continue;
      const bool is_asked = wanted != asked.end();
      Retype(module, stored->view, is_asked ? wanted->second : MostOf(stored->view.dtype),
             is_asked ? "it was asked for" : "GGUF's matrices are written as 16 bits");
    }
  }

  // A folder keeps codes of the blocks' linears only.
  void AddUnpacked() {
    for (const auto& [place_of, place] : model_.source().places()) {
      for (const auto& [module, kind] : TensorsAt(place_of, place)) {
        const std::optional<CheckpointSource::Stored> stored = model_.source().Find(module, kind);
        if (!stored || !IsBlockType(stored->view.dtype) || linears_.contains(module)) continue;
        Retype(module, stored->view, options_.type.value_or(FloatTypeOf(model_)),
               "folders keep codes of the blocks' linears only");
      }
    }
  }

  void RetypeCodes(const std::string& module, DType type, OutputLinear& linear) {
    if (linear.type == type) return;
    linear.type = type;
    const PackedWeight weight = *LoadCodes(model_, module);
    const auto found = std::ranges::find(plan_.report, module, &ConvertedLinear::name);
    CHECK(found != plan_.report.end());
    found->to = Name(type);
    found->reason = "it was asked for";
    found->bytes_after = BytesOf(module, linear, options_.format);
    if (found->keeping == Keeping::kCodes || found->keeping == Keeping::kMinima) --plan_.kept_linears;
    Lose(type, Dequantize(weight).view(), *found);
  }

  void AddCodes(const std::string& module, const PackedWeight& weight) {
    OutputLinear linear{
        {weight.rows, weight.columns, weight.groups, weight.scale_type, weight.SequentialGroups()},
        SettingsFor(weight, options_.format),
        DType::kF16};
    ConvertedLinear report;
    report.name = module;
    report.from = Describe(weight);
    report.bytes_before = SourceBytes(module);
    if (to_gguf()) {
      PlanGguf(weight, linear, report);
    } else {
      PlanFolder(module, weight, linear, report);
    }
    report.bytes_after = BytesOf(module, linear, options_.format);
    ++plan_.quantized_linears;
    if (report.keeping == Keeping::kCodes || report.keeping == Keeping::kMinima) ++plan_.kept_linears;
    plan_.report.push_back(std::move(report));
    plan_.linears.emplace(module, std::move(linear));
  }

  void PlanGguf(const PackedWeight& weight, OutputLinear& linear, ConvertedLinear& report) {
    const GgufChoice choice =
        ChooseGgufType({weight.bits, weight.symmetric, weight.columns, weight.group_size,
                        weight.SequentialGroups(), weight.scale_type});
    const std::optional<DType> asked =
        options_.type ? std::optional(FittingGgufType(*options_.type, weight.columns)) : std::nullopt;
    linear.type = asked ? *asked : choice.type.value_or(DType::kF16);
    report.to = Name(linear.type);
    if (choice.type == linear.type) {
      report.keeping = choice.exact ? Keeping::kCodes : Keeping::kMinima;
      return;
    }
    report.reason = choice.type ? Concat("--type asks for ", Name(linear.type)) : choice.reason;
    Lose(linear.type, Dequantize(weight).view(), report);
  }

  void PlanFolder(const std::string& module, const PackedWeight& weight, OutputLinear& linear,
                  ConvertedLinear& report) {
    if (options_.format == WeightFormat::kPlain) {
      linear.type = options_.type.value_or(DType::kF16);
      report.to = Name(linear.type);
      report.reason = "the folder is to hold floats";
      return Lose(linear.type, Dequantize(weight).view(), report);
    }
    if (!HoldsBits(options_.format, weight.bits)) {  // as they are, in wider fields
      linear.settings.bits = 8;
      linear.settings.symmetric = weight.symmetric;
    }
    CheckZeros(module, weight);
    report.to = Concat(linear.settings.bits, " bits");
    if (model_.is_gguf()) {
      const std::optional<CheckpointSource::Stored> stored = model_.source().Find(module, "weight");
      const GgufBlockType* type = stored ? FindGgufBlockType(stored->view.dtype) : nullptr;
      if (type != nullptr && type->minima && !type->super()) report.keeping = Keeping::kMinima;
    }
  }

  // What cannot be said is found before anything is written.
  void CheckZeros(const std::string& module, const PackedWeight& weight) const {
    const auto [least, greatest] = std::ranges::minmax(weight.zeros);
    const bool widened = !HoldsBits(options_.format, weight.bits);
    if (options_.format == WeightFormat::kGptq && !weight.symmetric && least == 0) {
      throw Error("the format gptq cannot say a zero of 0", module, "write gptq_v2 or compressed-tensors");
    }
    if (options_.format != WeightFormat::kGptq && !widened && greatest >= 1 << weight.bits) {
      throw Error(Concat("the format ", Name(options_.format), " cannot say a zero of ", greatest), module,
                  "write gptq");
    }
  }

  void Lose(DType type, const TensorView& values, ConvertedLinear& report) {
    report.keeping = IsBlockType(type) ? Keeping::kRounded : Keeping::kFloats;
    report.relative_error = RoundingError(values, type, pool_);
    if (!std::isfinite(*report.relative_error)) {
      throw Error(Concat("values of '", report.name, "' do not fit into ", Name(type)),
                  model_.reader().path().string(), "choose another --type or --format");
    }
  }

  // A matrix that is not written from codes: floats, or a GGUF type whose grids are GGUF's alone.
  void AddStored(const std::string& module) {
    const std::optional<CheckpointSource::Stored> stored = model_.source().Find(module, "weight");
    if (!stored) return;
    left_.emplace_back(module, std::nullopt);
    const DType source = stored->view.dtype;
    if (!model_.is_gguf() && !to_gguf()) return;  // a plain linear of a folder stays what it is
    DType type = to_gguf() ? MostOf(source) : options_.type.value_or(FloatTypeOf(model_));
    const bool transposed = !model_.is_gguf() && model_.spec().transposed_linears;
    const int64_t columns = transposed ? stored->view.rows() : stored->view.row_elements();
    if (to_gguf() && options_.type) type = FittingGgufType(*options_.type, columns);
    const char* why = to_gguf() && options_.type                ? "--type asks for it"
                      : to_gguf()                               ? "GGUF's matrices are written as 16 bits"
                      : options_.format == WeightFormat::kPlain ? "the folder is to hold floats"
                                                                : "its grids exist in GGUF only";
    Retype(module, stored->view, type, why);
  }

  // What a float matrix of a folder becomes in GGUF unless it is asked for something else.
  DType MostOf(DType source) const {
    return source == DType::kF32 && !model_.is_gguf() ? DType::kF16 : source;
  }

  void Retype(const std::string& module, const TensorView& view, DType type, const std::string& why) {
    if (to_gguf()) plan_.types[module] = type;
    const bool quantized = linears_.contains(module) && (IsBlockType(view.dtype) || IsBlockType(type));
    if (quantized) ++plan_.quantized_linears;
    if (type == view.dtype) {
      if (quantized) ++plan_.kept_linears;
      return;
    }
    ConvertedLinear report;
    report.name = module;
    report.from = Name(view.dtype);
    report.to = Name(type);
    report.reason = why;
    report.bytes_before = view.bytes();
    report.bytes_after = ByteSize(type, view.elements());
    Lose(type, view, report);
    const bool exact = !IsBlockType(view.dtype) && *report.relative_error == 0;
    if (!exact) plan_.report.push_back(std::move(report));
  }

  int64_t SourceBytes(const std::string& module) const {
    if (!model_.quantization()) return model_.source().StoredBytes(module);
    int64_t bytes = 0;
    const WeightFormat format = model_.quantization()->settings.format;
    for (const char* kind : {"qweight", "qzeros", "scales", "g_idx", "weight_packed", "weight_scale",
                             "weight_zero_point", "weight_shape", "weight_g_idx"}) {
      const std::string name = module + "." + kind;
      const std::optional<TensorView> view = model_.reader().Find(name);
      if (view && ModuleOf(name, format)) bytes += view->bytes();
    }
    return bytes;
  }

  void MakeConfig(Progress& progress);
  void AddUnquantized(std::vector<std::pair<std::string, std::optional<LinearSettings>>>& differing) const;

  ModelFiles& model_;
  const ConvertOptions& options_;
  ThreadPool& pool_;
  ConvertPlan plan_;
  std::vector<std::pair<std::string, std::optional<LinearSettings>>> left_;  // not quantized in the output
  std::set<std::string> linears_;
};

// Matrices of a folder that are stored as floats, but for those at the model's ends.
void Planner::AddUnquantized(
    std::vector<std::pair<std::string, std::optional<LinearSettings>>>& differing) const {
  if (model_.is_gguf()) return;
  const ModelSpec& spec = model_.spec();
  for (const std::string& name : model_.reader().names()) {
    if (!name.ends_with(".weight") || model_.reader().Get(name).shape.size() != 2) continue;
    const std::string module = name.substr(0, name.size() - 7);
    const bool end = module == spec.Name("embedding") || module == spec.Name("head") ||
                     (spec.Has("positions") && module == spec.Name("positions"));
    if (!end) differing.emplace_back(module, std::nullopt);
  }
}

// The most common settings are those of the config, others its exceptions.
void Planner::MakeConfig(Progress& progress) {
  QuantizationConfig config;
  if (model_.quantization()) config = *model_.quantization();
  config.overrides.clear();
  config.quantizer = "gptq.cpp:" GPTQ_VERSION;
  int64_t most = 0;
  for (const auto& [module, linear] : plan_.linears) {
    const int64_t count = std::ranges::count_if(
        plan_.linears, [&](const auto& other) { return other.second.settings == linear.settings; });
    if (count > most) config.settings = linear.settings;
    most = std::max(most, count);
  }
  const std::string head = model_.spec().Name("head");
  config.lm_head = plan_.linears.contains(head);
  config.activation_order = std::ranges::any_of(
      plan_.linears, [](const auto& linear) { return !linear.second.shape.sequential_groups; });
  std::vector<std::pair<std::string, std::optional<LinearSettings>>> differing = std::move(left_);
  for (const auto& [module, linear] : plan_.linears) {
    if (linear.settings != config.settings) differing.emplace_back(module, linear.settings);
  }
  AddUnquantized(differing);
  for (const std::string& warning : AddOverrides(differing, config)) progress.Warn(warning);
  for (const std::string& warning : SettingWarnings(config)) progress.Warn(warning);
  plan_.config = std::move(config);
}

ConvertPlan Planner::Finish(Progress& progress) {
  const bool quantized_folder = !to_gguf() && options_.format != WeightFormat::kPlain;
  if (quantized_folder && plan_.linears.empty()) {
    throw Error(
        Concat("the model has no integer codes that the format ", Name(options_.format), " could keep"),
        options_.model.string(), "quantize it by `gptq quantize`");
  }
  if (quantized_folder) MakeConfig(progress);
  return std::move(plan_);
}

PackedWeight InOrder(const PackedWeight& weight, const std::vector<int32_t>& rows) {
  if (rows.empty()) return weight;
  PackedWeight ordered = weight;
  for (int64_t r = 0; r < weight.rows; ++r) {
    const int64_t from = rows[static_cast<size_t>(r)];
    std::copy_n(weight.codes.data() + from * weight.columns, weight.columns,
                ordered.codes.data() + r * weight.columns);
    std::copy_n(weight.scales.data() + from * weight.groups, weight.groups,
                ordered.scales.data() + r * weight.groups);
    std::copy_n(weight.zeros.data() + from * weight.groups, weight.groups,
                ordered.zeros.data() + r * weight.groups);
  }
  return ordered;
}

}  // namespace

std::optional<PackedWeight> LoadCodes(ModelFiles& model, const std::string& module) {
  if (!model.quantization()) {
    if (!model.is_gguf()) return std::nullopt;
    const std::optional<CheckpointSource::Stored> stored = model.source().Find(module, "weight");
    if (!stored) return std::nullopt;
    std::optional<PackedWeight> weight = FromGgufBlocks(stored->view);
    if (weight) weight = InOrder(*weight, stored->row_order);
    return weight;
  }
  const std::string where = model.reader().path().string();
  const std::optional<LinearSettings> settings = SettingsOf(*model.quantization(), module);
  if (!settings) {
    throw Error(Concat("'", module, "' is stored as codes, but quantization_config leaves it unquantized"),
                where, "config.json and weights do not belong together");
  }
  const auto find = [&](const std::string& name) { return model.reader().Find(name); };
  return LoadLinear(find, module, *settings, where, nullptr, std::nullopt);
}

PackedWeight Widened(PackedWeight weight, int bits) {
  CHECK(bits >= weight.bits);
  const int shift = weight.symmetric ? (1 << (bits - 1)) - (1 << (weight.bits - 1)) : 0;
  for (uint8_t& code : weight.codes) code = static_cast<uint8_t>(code + shift);
  for (int16_t& zero : weight.zeros) zero = static_cast<int16_t>(zero + shift);
  weight.bits = bits;
  return weight;
}

ConvertPlan PlanConversion(ModelFiles& model, const ConvertOptions& options, Backend& backend,
                           Progress& progress) {
  const std::vector<std::string> names = LinearNames(model, backend);
  Planner planner(model, options, backend.pool());
  progress.Stage("plan", static_cast<int64_t>(names.size()));
  int64_t done = 0;
  for (const std::string& name : names) {
    planner.Add(name);
    progress.Step(++done);
  }
  planner.AddOthers();
  return planner.Finish(progress);
}

}  // namespace gptq
