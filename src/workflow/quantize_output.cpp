#include "workflow/quantize_output.h"

#include <algorithm>
#include <cmath>

#include "base/convert.h"
#include "model/gguf_model.h"
#include "text/export.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

// Shapes of a linear's tensors, without the work of packing it.
std::vector<TensorDeclaration> DeclareLinear(const PlannedLinear& linear) {
  const int64_t groups = linear.solver.GroupCount(linear.columns);
  const auto words = [&](int64_t count) { return (count * linear.solver.bits + 31) / 32; };
  return {{linear.name + ".qweight", DType::kI32, {words(linear.columns), linear.rows}},
          {linear.name + ".qzeros", DType::kI32, {groups, words(linear.rows)}},
          {linear.name + ".scales", linear.solver.scale_type, {groups, linear.rows}},
          {linear.name + ".g_idx", DType::kI32, {linear.columns}}};
}

// Types the kept tensor has in the output: its own, but GGUF's become float16.
Tensor Converted(const CheckpointSource::Stored& stored, DType dtype, const std::string& name) {
  Tensor values = ToFloat(stored.view);
  if (!stored.row_order.empty()) {
    Tensor ordered = Tensor::Uninitialized(DType::kF32, stored.view.shape);
    const int64_t width = stored.view.row_elements();
    for (int64_t r = 0; r < stored.view.rows(); ++r) {
      const float* row = values.As<float>().data() + stored.row_order[static_cast<size_t>(r)] * width;
      std::copy_n(row, width, ordered.As<float>().data() + r * width);
    }
    values = std::move(ordered);
  }
  for (const float value : values.As<float>()) {
    if (dtype == DType::kF16 && std::abs(value) > 65504.0f) {
      throw Error(Concat("a value of ", value, " does not fit into float16"), name,
                  "start from the model's Hugging Face folder");
    }
  }
  return FromFloat(values, dtype);
}

const char* const kWeightSuffixes[] = {".safetensors",
                                       ".bin",
                                       ".gguf",
                                       ".pt",
                                       ".pth",
                                       ".h5",
                                       ".msgpack",
                                       ".onnx",
                                       ".safetensors.index.json",
                                       ".bin.index.json",
                                       ".partial"};

bool IsSideFile(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  if (!entry.is_regular_file() || name == "config.json" || name == "quantize_config.json" ||
      name.starts_with("."))
    return false;
  for (const char* suffix : kWeightSuffixes) {
    if (name.ends_with(suffix)) return false;
  }
  return true;
}

bool HoldsModel(const fs::path& folder) {
  if (fs::is_empty(folder) || fs::exists(folder / "config.json")) return true;
  return std::ranges::any_of(fs::directory_iterator(folder), [](const fs::directory_entry& entry) {
    return entry.path().extension() == ".safetensors";
  });
}

// `inner` is `outer` or lies somewhere in it.
bool Contains(const fs::path& outer, const fs::path& inner) {
  const fs::path a = fs::weakly_canonical(outer), b = fs::weakly_canonical(inner);
  return std::ranges::mismatch(a, b).in1 == a.end();
}

}  // namespace

void CheckOutputPath(const fs::path& output, bool overwrite, const fs::path& model) {
  const fs::path path = output.has_filename() ? output : output.parent_path();
  const fs::path partial = PartialPath(path);
  if (fs::is_directory(partial) && !HoldsModel(partial)) {
    throw Error("a folder of this name is needed for unfinished work, but holds something else",
                partial.string(), "move it away or choose another --output");
  }
  if (!fs::exists(path)) return;
  if (!overwrite)
    throw Error("the output exists already", path.string(),
                "choose another --output, or replace it by --overwrite");
  if (Contains(path, model)) {
    throw Error("the output would replace the model that is read", path.string(), "choose another --output");
  }
  if (fs::is_directory(path) && !HoldsModel(path)) {
    throw Error("--overwrite replaces model folders only, this one holds something else", path.string(),
                "choose another --output");
  }
}

QuantizeOutput::QuantizeOutput(const QuantizeOptions& options, ModelFiles& model, const QuantizePlan& plan)
    : options_(options), model_(model), folder_(options.output, options.overwrite) {
  for (const auto& [name, linear] : plan) {
    for (TensorDeclaration& declaration : DeclareLinear(linear))
      declarations_.push_back(std::move(declaration));
  }
  const auto quantized = [&](const std::string& module, const std::string& kind) {
    return kind == "weight" && plan.contains(module);
  };
  if (model.is_gguf()) {
    for (const auto& [module, ignored] : GgufNames(model.architecture(), model.spec())) {
      for (const char* kind : {"weight", "bias"}) {
        std::optional<CheckpointSource::Stored> stored = model.source().Find(module, kind);
        if (stored && !quantized(module, kind))
          kept_.push_back({module + "." + kind, std::move(*stored), DType::kF16});
      }
    }
  } else {
    for (const std::string& name : model.reader().names()) {
      const size_t dot = name.rfind('.');
      if (dot != std::string::npos && quantized(name.substr(0, dot), name.substr(dot + 1))) continue;
      const TensorView view = model.reader().Get(name);
      kept_.push_back({name, {name, view, {}}, view.dtype});
    }
  }
  for (const Kept& kept : kept_) declarations_.push_back({kept.name, kept.dtype, kept.stored.view.shape});
  writer_ = std::make_unique<CheckpointWriter>(folder_.folder(), declarations_);
}

void QuantizeOutput::WriteLinear(const PlannedLinear& linear, const PackedWeight& weight) {
  const GptqTensors tensors = ToGptqTensors(weight, options_.version, linear.name);
  for (const auto& [kind, tensor] : {std::pair<const char*, const Tensor*>{"qweight", &tensors.qweight},
                                     {"qzeros", &tensors.qzeros},
                                     {"scales", &tensors.scales},
                                     {"g_idx", &tensors.g_idx}}) {
    writer_->Write(linear.name + "." + kind, tensor->view());
  }
}

void QuantizeOutput::WriteKept(Progress& progress) {
  progress.Stage("write", static_cast<int64_t>(kept_.size()));
  int64_t done = 0;
  for (const Kept& kept : kept_) {
    if (kept.dtype == kept.stored.view.dtype && kept.stored.row_order.empty()) {
      writer_->Write(kept.name, kept.stored.view);
    } else {
      writer_->Write(kept.name, Converted(kept.stored, kept.dtype, kept.name).view());
    }
    progress.Step(++done);
  }
  writer_->Finish();
}

void QuantizeOutput::WriteSideFiles() {
  if (model_.is_gguf()) {
    for (const auto& [name, content] :
         ExportTokenizer(ReadGgufVocabulary(*model_.reader().gguf()), model_.spec().max_positions,
                         model_.reader().path().string())) {
      WriteFile(folder_.folder() / name, content);
    }
    return;
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(model_.reader().folder())) {
    if (IsSideFile(entry)) CopyFile(entry.path(), folder_.folder() / entry.path().filename());
  }
}

void QuantizeOutput::Finish(const GptqConfig& config, Progress& progress) {
  WriteKept(progress);
  Json model_config = model_.config();
  model_config["quantization_config"] = ToJson(config);
  WriteFile(folder_.folder() / "config.json", Dump(model_config, 2) + "\n");
  WriteFile(folder_.folder() / "quantize_config.json", Dump(ToJson(config), 2) + "\n");
  WriteSideFiles();
  folder_.Commit();
}

}  // namespace gptq
