#include <algorithm>

#include "base/convert.h"
#include "io/writable_file.h"
#include "model/gguf_model.h"
#include "text/export.h"
#include "workflow/output_form.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

class FolderForm : public OutputForm {
 public:
  FolderForm(ModelFiles& model, OutputLinears linears, std::optional<QuantizationConfig> config,
             std::vector<fs::path> side_files, std::optional<DType> gguf_type)
      : model_(model),
        linears_(std::move(linears)),
        config_(std::move(config)),
        side_files_(std::move(side_files)),
        gguf_type_(gguf_type.value_or(FloatTypeOf(model))) {}

  const OutputLinears& linears() const override { return linears_; }

  std::vector<TensorDeclaration> Declare(const std::string& module) const override {
    const OutputLinear& linear = linears_.at(module);
    if (linear.settings.format == WeightFormat::kPlain)
      return {{module + ".weight", linear.type, {linear.shape.rows, linear.shape.columns}}};
    return DeclareLinear(module, linear.shape, linear.settings);
  }

  std::vector<std::pair<std::string, Tensor>> Store(const std::string& module, const StoredMatrix& weight,
                                                    ThreadPool&) const override {
    const OutputLinear& linear = linears_.at(module);
    if (linear.settings.format != WeightFormat::kPlain)
      return StoreLinear(module, std::get<PackedWeight>(weight), linear.settings,
                         linear.shape.sequential_groups);
    std::vector<std::pair<std::string, Tensor>> stored;
    stored.emplace_back(module + ".weight", FromFloat(Dequantize(weight), linear.type));
    return stored;
  }

  // From GGUF in Hugging Face's names and row order.
  std::vector<KeptTensor> Kept() override {
    std::vector<KeptTensor> kept;
    if (model_.is_gguf()) {
      for (const auto& [place_of, place] : model_.source().places()) {
        for (const auto& [module, kind] : TensorsAt(place_of, place)) {
          std::optional<CheckpointSource::Stored> stored = model_.source().Find(module, kind);
          if (!stored || Quantized(module, kind)) continue;
          const bool transposed = place.transposed && stored->view.shape.size() == 2;
          kept.push_back({module + "." + kind, std::move(*stored), gguf_type_, transposed});
        }
      }
      return kept;
    }
    for (const std::string& name : model_.reader().names()) {
      const size_t dot = name.rfind('.');
      if (dot != std::string::npos && Quantized(name.substr(0, dot), name.substr(dot + 1))) continue;
      const TensorView view = model_.reader().Get(name);
      kept.push_back({name, {name, view, {}}, view.dtype});
    }
    return kept;
  }

  std::map<std::string, Tensor> Made() const override {
    std::map<std::string, Tensor> made;
    for (const auto& [module, place] : model_.source().places()) {
      if (Quantized(module, "weight")) continue;
      if (const std::optional<Tensor> joined = model_.source().Joined(module))
        made.emplace(module + ".weight", FromFloat(ToFloat(joined->view()), gguf_type_));
    }
    return made;
  }

  std::unique_ptr<CheckpointWriter> Open(const fs::path& content, std::vector<TensorDeclaration> tensors,
                                         bool resume) override {
    CheckpointWriter::Options options;
    options.resume = resume;
    return std::make_unique<CheckpointWriter>(content, std::move(tensors), options);
  }

  void WriteSideFiles(const fs::path& content) override {
    Json model_config = model_.config();
    model_config.erase("quantization_config");
    if (model_.is_gguf() && gguf_type_ != DType::kF16)
      model_config["torch_dtype"] = gguf_type_ == DType::kBF16 ? "bfloat16" : "float32";
    if (config_) model_config["quantization_config"] = ToJson(*config_);
    WriteFile(content / "config.json", Dump(model_config, 2) + "\n");
    if (config_ && config_->settings.format != WeightFormat::kCompressedTensors)
      WriteFile(content / "quantize_config.json", Dump(ToJson(*config_), 2) + "\n");
    if (model_.is_gguf()) {
      for (const auto& [name, text] :
           ExportTokenizer(ReadGgufVocabulary(*model_.reader().gguf()), model_.spec().max_positions,
                           model_.reader().path().string()))
        WriteFile(content / name, text);
    }
    for (const fs::path& path : side_files_) CopyFile(path, content / path.filename());
  }

 private:
  // MODULE.kind is a part of a linear that is written from its codes.
  bool Quantized(const std::string& module, const std::string& kind) const {
    if (!linears_.contains(module)) return false;
    const auto& quantization = model_.quantization();
    return kind == "weight" || (quantization && ModuleOf(module + "." + kind, quantization->settings.format));
  }

  ModelFiles& model_;
  OutputLinears linears_;
  std::optional<QuantizationConfig> config_;
  std::vector<fs::path> side_files_;
  DType gguf_type_;
};

}  // namespace

std::unique_ptr<OutputForm> MakeFolderForm(ModelFiles& model, OutputLinears linears,
                                           std::optional<QuantizationConfig> config,
                                           std::vector<fs::path> side_files, std::optional<DType> gguf_type) {
  return std::make_unique<FolderForm>(model, std::move(linears), std::move(config), std::move(side_files),
                                      gguf_type);
}

}  // namespace gptq
