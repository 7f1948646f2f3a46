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

constexpr int64_t kPieceBytes = int64_t{1} << 24;  // of a kept tensor; more is never in memory

// Rows [first, first + count) in the output's order and type: the stored one, but GGUF's become float16.
Tensor Converted(const CheckpointSource::Stored& stored, DType dtype, int64_t first, int64_t count,
                 const std::string& name) {
  const int64_t width = stored.view.row_elements(), row_bytes = ByteSize(stored.view.dtype, width);
  Tensor values = Tensor::Uninitialized(DType::kF32, {count, width});
  for (int64_t r = 0; r < count; ++r) {
    const int64_t row =
        stored.row_order.empty() ? first + r : stored.row_order[static_cast<size_t>(first + r)];
    ToFloat(stored.view.dtype, stored.view.data + row * row_bytes, width,
            values.As<float>().data() + r * width);
  }
  for (const float value : values.As<float>()) {
    if (dtype == DType::kF16 && std::abs(value) > 65504.0f) {
      throw Error(Concat("a value of ", value, " does not fit into float16"), name,
                  "start from the model's Hugging Face folder");
    }
  }
  return FromFloat(values, dtype);
}

// A folder that holds what a run of quantize leaves when it is stopped, and nothing else.
bool IsUnfinishedWork(const fs::path& folder) {
  return std::ranges::all_of(fs::directory_iterator(folder), [](const fs::directory_entry& entry) {
    const std::string name = entry.path().filename().string();
    return name == kCheckpointFolder || name == "activations" || name.starts_with("boundary.") ||
           name.starts_with("journal.json");
  });
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
  if (fs::is_directory(partial) && !HoldsModel(partial) && !IsUnfinishedWork(partial)) {
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

QuantizeOutput::QuantizeOutput(QuantizeJob& job, OutputFolder& folder, bool resume)
    : job_(job), folder_(folder) {
  ModelFiles& model = *job.model;
  for (const auto& [name, linear] : job.plan) {
    for (TensorDeclaration& declaration : DeclareLinear(linear))
      declarations_.push_back(std::move(declaration));
  }
  const auto quantized = [&](const std::string& module, const std::string& kind) {
    return kind == "weight" && job.plan.contains(module);
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
  CheckpointWriter::Options options;
  options.resume = resume;
  writer_ = std::make_unique<CheckpointWriter>(folder_.folder(), declarations_, options);
}

void QuantizeOutput::MarkWritten(const PlannedLinear& linear) {
  for (const TensorDeclaration& declaration : DeclareLinear(linear)) writer_->MarkWritten(declaration.name);
}

void QuantizeOutput::WriteLinear(const PlannedLinear& linear, const PackedWeight& weight) {
  const GptqTensors tensors = ToGptqTensors(weight, job_.options.version, linear.name);
  for (const auto& [kind, tensor] : {std::pair<const char*, const Tensor*>{"qweight", &tensors.qweight},
                                     {"qzeros", &tensors.qzeros},
                                     {"scales", &tensors.scales},
                                     {"g_idx", &tensors.g_idx}}) {
    writer_->Write(linear.name + "." + kind, tensor->view());
  }
}

void QuantizeOutput::WriteKept(const Kept& kept) {
  const TensorView& view = kept.stored.view;
  const int64_t rows = view.rows(), width = view.row_elements();
  const bool as_it_is = kept.dtype == view.dtype && kept.stored.row_order.empty();
  const int64_t row_bytes = ByteSize(view.dtype, width);
  const int64_t most = std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, width * 8));
  if (rows * width == 0) writer_->Append(kept.name, {});
  for (int64_t first = 0; first < rows && width > 0; first += most) {
    const int64_t count = std::min(most, rows - first);
    if (as_it_is) {
      writer_->Append(kept.name, {view.data + first * row_bytes, static_cast<size_t>(count * row_bytes)});
    } else {
      const Tensor piece = Converted(kept.stored, kept.dtype, first, count, kept.name);
      writer_->Append(kept.name, {piece.data(), static_cast<size_t>(piece.bytes())});
    }
    job_.model->reader().Release(kept.stored.name, first * row_bytes, count * row_bytes);
  }
  job_.model->reader().Release(kept.stored.name);
}

void QuantizeOutput::WriteSideFiles() {
  if (job_.model->is_gguf()) {
    for (const auto& [name, content] :
         ExportTokenizer(ReadGgufVocabulary(*job_.model->reader().gguf()), job_.model->spec().max_positions,
                         job_.model->reader().path().string())) {
      WriteFile(folder_.folder() / name, content);
    }
  }
  for (const fs::path& path : job_.side_files) CopyFile(path, folder_.folder() / path.filename());
}

void QuantizeOutput::Complete(const GptqConfig& config, Progress& progress) {
  progress.Stage("write", static_cast<int64_t>(kept_.size()));
  int64_t done = 0;
  for (const Kept& kept : kept_) {
    WriteKept(kept);
    progress.Step(++done);
  }
  writer_->Finish();
  Json model_config = job_.model->config();
  model_config["quantization_config"] = ToJson(config);
  WriteFile(folder_.folder() / "config.json", Dump(model_config, 2) + "\n");
  WriteFile(folder_.folder() / "quantize_config.json", Dump(ToJson(config), 2) + "\n");
  WriteSideFiles();
}

}  // namespace gptq
