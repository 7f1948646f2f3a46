#include <algorithm>

#include "base/convert.h"
#include "model/gguf_export.h"
#include "model/gguf_model.h"
#include "quant/gguf_block.h"
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

Tensor Encode(const StoredMatrix& weight, DType type, const std::string& module) {
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
  RoundToGguf(type, values.As<float>().data(), values.elements(), blocks.data());
  return blocks;
}

class GgufForm : public OutputForm {
 public:
  GgufForm(ModelFiles& model, OutputLinears linears, std::map<std::string, DType> types)
      : model_(model), linears_(std::move(linears)), types_(std::move(types)) {
    const DType main = MainType(linears_, types_);
    if (model.is_gguf()) {
      metadata_ = CopyGgufMetadata(*model.reader().gguf(), main);
    } else {
      std::string name = model.reader().folder().filename().string();
      if (name.empty()) name = model.reader().folder().parent_path().filename().string();
      metadata_ = MakeGgufMetadata(model.architecture(), model.spec(), model.config(),
                                   GgufVocabularyFromFolder(model.reader().folder(), model.spec().vocabulary),
                                   {name, main});
    }
    names_ = GgufNames(model.architecture(), model.spec());
  }

  const OutputLinears& linears() const override { return linears_; }

  std::vector<TensorDeclaration> Declare(const std::string& module) const override {
    const OutputLinear& linear = linears_.at(module);
    return {{StoredName(module, "weight"), linear.type, {linear.shape.rows, linear.shape.columns}}};
  }

  std::vector<std::pair<std::string, Tensor>> Store(const std::string& module,
                                                    const StoredMatrix& weight) const override {
    const OutputLinear& linear = linears_.at(module);
    Tensor rows;
    const Tensor* blocks = std::get_if<Tensor>(&weight);
    const bool ready = blocks != nullptr && blocks->dtype() == linear.type;
    if (!ready) rows = Encode(weight, linear.type, module);
    std::vector<std::pair<std::string, Tensor>> stored;
    stored.emplace_back(StoredName(module, "weight"), InFileOrder(module, ready ? *blocks : rows));
    return stored;
  }

  std::vector<KeptTensor> Kept() override {
    std::vector<KeptTensor> kept;
    for (const auto& [module, stored_name] : names_) {
      const bool tied = model_.spec().tied_head && module == model_.spec().Name("head");
      if (tied) continue;
      for (const char* kind : {"weight", "bias"}) {
        if (std::string_view(kind) == "weight" && linears_.contains(module)) continue;
        std::optional<CheckpointSource::Stored> stored = model_.source().Find(module, kind);
        if (!stored) continue;
        stored->row_order =
            model_.is_gguf() ? std::vector<int32_t>() : FileOrder(module, stored->view.rows());
        const DType type = TypeOf(module, stored->view);
        kept.push_back({StoredName(module, kind), std::move(*stored), type});
      }
    }
    if (model_.is_gguf()) {
      if (const auto factors = model_.reader().Find("rope_freqs.weight"))
        kept.push_back({"rope_freqs.weight", {"rope_freqs.weight", *factors, {}}, factors->dtype});
    }
    return kept;
  }

  std::map<std::string, Tensor> Made() const override {
    std::map<std::string, Tensor> made;
    if (model_.is_gguf()) return made;
    if (std::optional<Tensor> factors = GgufRotaryFactors(model_.spec()))
      made.emplace("rope_freqs.weight", *std::move(factors));
    return made;
  }

  std::unique_ptr<CheckpointWriter> Open(const fs::path& content, std::vector<TensorDeclaration> tensors,
                                         bool resume) override {
    return std::make_unique<CheckpointWriter>(
        CheckpointWriter::Gguf(content, metadata_, std::move(tensors), resume));
  }

  void WriteSideFiles(const fs::path&) override {}

 private:
  std::string StoredName(const std::string& module, const char* kind) const {
    const auto found = names_.find(module);
    if (found == names_.end()) {
      throw Error(Concat("GGUF has no name for '", module, "'"), model_.reader().path().string(),
                  "write another format");
    }
    return found->second + "." + kind;
  }

  // Vectors are float32, as llama.cpp adds them; matrices keep their type, but for float32.
  DType TypeOf(const std::string& module, const TensorView& view) const {
    if (view.shape.size() < 2) return DType::kF32;
    if (const auto found = types_.find(module); found != types_.end()) return found->second;
    return view.dtype == DType::kF32 && !model_.is_gguf() ? DType::kF16 : view.dtype;
  }

  // For each row of the file, the row of the Hugging Face tensor; empty where it is the same.
  std::vector<int32_t> FileOrder(const std::string& module, int64_t rows) const {
    const std::vector<int32_t> stored = GgufRowOrder(model_.architecture(), model_.spec(), module, rows);
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
  std::map<std::string, std::string> names_;
};

}  // namespace

std::unique_ptr<OutputForm> MakeGgufForm(ModelFiles& model, OutputLinears linears,
                                         std::map<std::string, DType> types) {
  return std::make_unique<GgufForm>(model, std::move(linears), std::move(types));
}

}  // namespace gptq
