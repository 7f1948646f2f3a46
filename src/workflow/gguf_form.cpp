#include <algorithm>

#include "base/convert.h"
#include "base/gguf_block.h"
#include "model/gguf_export.h"
#include "model/gguf_layout.h"
#include "model/gguf_model.h"
#include "quant/gguf_format.h"
#include "quant/gguf_rounding.h"
#include "text/gguf_from_files.h"
#include "workflow/output_form.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

// The type of most linears.
DType MainType(const OutputLinears& linears, const std::map<std::string, DType>& types) {
  std::map<DType, int64_t> count;
  for (const auto& [module, linear] : linears) ++count[linear.type];
  for (const auto& [module, type] : types) ++count[type];
  const auto most = std::ranges::max_element(count, {}, [](const auto& entry) { return entry.second; });
  return most == count.end() ? DType::kF16 : most->first;
}

Tensor Encode(const StoredMatrix& weight, DType type, const std::string& module, ThreadPool& pool) {
  const PackedWeight* packed = std::get_if<PackedWeight>(&weight);
  if (packed != nullptr && IsBlockType(type)) {
    const GgufChoice choice =
        ChooseGgufType({packed->bits, packed->symmetric, packed->columns, packed->group_size,
                        packed->SequentialGroups(), packed->scale_type});
    if (choice.type == type) return ToGgufBlocks(*packed, type, module);
  }
  const Tensor values = Dequantize(weight);
  if (!IsBlockType(type)) return FromFloat(values, type);
  Tensor blocks = Tensor::Uninitialized(type, values.shape());
  RoundToGguf(type, values.As<float>().data(), values.elements(), blocks.data(), pool);
  return blocks;
}

std::string PartName(const std::string& name, int64_t part) { return Concat(name, "[", part, "]"); }

// Puts one tensor into the place of those that are its parts; returns the names of the parts, in order.
std::map<std::string, std::vector<std::string>> GatherParts(std::vector<TensorDeclaration>& tensors) {
  std::map<std::string, std::vector<std::string>> parts;
  std::vector<TensorDeclaration> gathered;
  std::map<std::string, TensorDeclaration> of_parts;
  for (TensorDeclaration& tensor : tensors) {
    if (!tensor.name.ends_with(']')) {
      gathered.push_back(std::move(tensor));
      continue;
    }
    std::string name = tensor.name.substr(0, tensor.name.rfind('['));
    const auto [first, added] = of_parts.emplace(name, tensor);
    if (first->second.dtype != tensor.dtype || first->second.shape != tensor.shape) {
      throw Error(Concat("GGUF holds the experts of '", name, "' in one tensor, of one type"), tensor.name,
                  "give them the same number of bits, or write another format");
    }
    parts[std::move(name)].push_back(std::move(tensor.name));
  }
  for (auto& [name, names] : parts) {
    TensorDeclaration& tensor = of_parts.at(name);
    const auto count = static_cast<int64_t>(names.size());
    for (int64_t part = 0; part < count; ++part) names[static_cast<size_t>(part)] = PartName(name, part);
    tensor.name = name;
    tensor.shape.insert(tensor.shape.begin(), count);
    gathered.push_back(tensor);
  }
  tensors = std::move(gathered);
  return parts;
}

class GgufForm : public OutputForm {
 public:
  GgufForm(ModelFiles& model, OutputLinears linears, std::map<std::string, DType> types)
      : model_(model), linears_(std::move(linears)), types_(std::move(types)) {
    const DType main = MainType(linears_, types_);
    if (model.is_gguf()) {
      metadata_ = CopyGgufMetadata(*model.reader().gguf(), model.spec(), main);
    } else {
      std::string name = model.reader().folder().filename().string();
      if (name.empty()) name = model.reader().folder().parent_path().filename().string();
      metadata_ = MakeGgufMetadata(model.architecture(), model.spec(), model.config(),
                                   GgufVocabularyFromFolder(model.reader().folder(), model.spec().vocabulary),
                                   {name, main});
    }
    places_ = GgufPlaces(model.architecture(), model.spec());
  }

  const OutputLinears& linears() const override { return linears_; }

  std::vector<TensorDeclaration> Declare(const std::string& module) const override {
    const OutputLinear& linear = linears_.at(module);
    return {{PlaceName(module, "weight"), linear.type, {linear.shape.rows, linear.shape.columns}}};
  }

  std::vector<std::pair<std::string, Tensor>> Store(const std::string& module, const StoredMatrix& weight,
                                                    ThreadPool& pool) const override {
    const OutputLinear& linear = linears_.at(module);
    Tensor rows;
    const Tensor* blocks = std::get_if<Tensor>(&weight);
    const bool ready = blocks != nullptr && blocks->dtype() == linear.type;
    if (!ready) rows = Encode(weight, linear.type, module, pool);
    std::vector<std::pair<std::string, Tensor>> stored;
    stored.emplace_back(PlaceName(module, "weight"), InFileOrder(module, ready ? *blocks : rows));
    return stored;
  }

  std::vector<KeptTensor> Kept() override {
    std::vector<KeptTensor> kept;
    for (const auto& [place_of, place] : places_) {
      const bool tied = model_.spec().tied_head && place_of == model_.spec().Name("head");
      if (tied) continue;
      for (const auto& [module, kind] : TensorsAt(place_of, place)) {
        if (kind == "weight" && linears_.contains(module)) continue;
        std::optional<CheckpointSource::Stored> stored = model_.source().Find(module, kind);
        if (!stored) continue;
        stored->row_order =
            model_.is_gguf() ? std::vector<int32_t>() : FileOrder(module, stored->view.rows());
        stored->added = model_.is_gguf() || kind != "weight" ? 0 : -place.added;
        const bool transposed = !model_.is_gguf() && place.transposed && stored->view.shape.size() == 2;
        const DType type = TypeOf(module, place, stored->view);
        kept.push_back({PlaceName(place_of, kind), std::move(*stored), type, transposed});
      }
    }
    if (model_.is_gguf()) {
      for (const auto& [name, factors] : model_.reader().gguf()->tensors()) {
        if (IsRotaryFactors(name)) kept.push_back({name, {name, factors, {}}, factors.dtype});
      }
    }
    return kept;
  }

  std::map<std::string, Tensor> Made() const override {
    if (model_.is_gguf()) {
      std::map<std::string, Tensor> joined;
      for (const auto& [module, place] : places_) {
        std::optional<Tensor> tensor = model_.source().Joined(module);
        if (tensor && !linears_.contains(module))
          joined.emplace(PlaceName(module, "weight"), *std::move(tensor));
      }
      return joined;
    }
    return GgufRotaryFactors(model_.spec());
  }

  std::unique_ptr<CheckpointWriter> Open(const fs::path& content, std::vector<TensorDeclaration> tensors,
                                         bool resume) override {
    const std::map<std::string, std::vector<std::string>> parts = GatherParts(tensors);
    auto writer = std::make_unique<CheckpointWriter>(
        CheckpointWriter::Gguf(content, metadata_, std::move(tensors), resume));
    for (const auto& [name, part_names] : parts) writer->Divide(name, part_names);
    return writer;
  }

  void WriteSideFiles(const fs::path&) override {}

 private:
  // Of parts of a tensor with the part's number behind it: "NAME[3]".
  std::string PlaceName(const std::string& module, const std::string& kind) const {
    const auto found = places_.find(module);
    if (found == places_.end()) {
      throw Error(Concat("GGUF has no name for '", module, "'"), model_.reader().path().string(),
                  "write another format");
    }
    const GgufPlace& place = found->second;
    const std::string name = place.whole ? place.name : place.name + "." + kind;
    return place.part < 0 ? name : PartName(name, place.part);
  }

  // Vectors are float32, as llama.cpp adds them; matrices keep their type, but for float32.
  DType TypeOf(const std::string& module, const GgufPlace& place, const TensorView& view) const {
    if (view.shape.size() < 2) return DType::kF32;
    if (place.float32 && IsFloat(view.dtype)) return DType::kF32;
    if (const auto found = types_.find(module); found != types_.end()) return found->second;
    return view.dtype == DType::kF32 && !model_.is_gguf() ? DType::kF16 : view.dtype;
  }

  // For each row of the file, the row of the Hugging Face tensor; empty where it is the same.
  std::vector<int32_t> FileOrder(const std::string& module, int64_t rows) const {
    const auto place = places_.find(module);
    if (place == places_.end()) return {};
    const std::vector<int32_t> stored = GgufRowOrder(place->second.rows, model_.spec(), rows);
    std::vector<int32_t> order(stored.size());
    for (size_t r = 0; r < stored.size(); ++r)
      order[static_cast<size_t>(stored[r])] = static_cast<int32_t>(r);
    return order;
  }

  Tensor InFileOrder(const std::string& module, const Tensor& rows) const {
    const int64_t count = rows.shape()[0], row_bytes = count == 0 ? 0 : rows.bytes() / count;
    const std::vector<int32_t> order = FileOrder(module, count);
    Tensor ordered = Tensor::Uninitialized(rows.dtype(), rows.shape());
    for (int64_t r = 0; r < count; ++r) {
      const int64_t from = order.empty() ? r : order[static_cast<size_t>(r)];
      std::copy_n(rows.data() + from * row_bytes, row_bytes, ordered.data() + r * row_bytes);
    }
    return ordered;
  }

  ModelFiles& model_;
  OutputLinears linears_;
  std::map<std::string, DType> types_;  // of kept matrices that change
  GgufMetadata metadata_;
  std::map<std::string, GgufPlace> places_;
};

}  // namespace

std::unique_ptr<OutputForm> MakeGgufForm(ModelFiles& model, OutputLinears linears,
                                         std::map<std::string, DType> types) {
  return std::make_unique<GgufForm>(model, std::move(linears), std::move(types));
}

}  // namespace gptq
