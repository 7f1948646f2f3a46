#include "workflow/output_form.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/convert.h"
#include "base/gguf_block.h"
#include "compute/weight.h"
#include "quant/gguf_rounding.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

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
      name == kModelCard || name.starts_with("."))
    return false;
  for (const char* suffix : kWeightSuffixes) {
    if (name.ends_with(suffix)) return false;
  }
  return true;
}

// Rows of the transpose as float32. A row of either matrix lies in the order of the other's columns.
Tensor TransposedRows(const CheckpointSource::Stored& stored, int64_t first, int64_t count) {
  const Tensor whole = IsFloat(stored.view.dtype) ? Tensor() : ToFloat(stored.view);
  const Weight weight = Weight::Transposed(IsFloat(stored.view.dtype) ? stored.view : whole.view());
  Tensor rows = Tensor::Uninitialized(DType::kF32, {count, weight.columns()});
  weight.ReadRows(first, count, rows.As<float>().data());
  return rows;
}

}  // namespace

Shape KeptTensor::shape() const {
  Shape shape = stored.view.shape;
  if (transposed) std::swap(shape.at(0), shape.at(1));
  return shape;
}

bool KeptTensor::as_it_is() const {
  return type == stored.view.dtype && stored.row_order.empty() && stored.added == 0 && !transposed;
}

Tensor ConvertRows(const KeptTensor& kept, int64_t first, int64_t count, ThreadPool& pool) {
  const CheckpointSource::Stored& stored = kept.stored;
  const int64_t width = kept.transposed ? stored.view.rows() : stored.view.row_elements();
  const int64_t row_bytes = ByteSize(stored.view.dtype, stored.view.row_elements());
  const auto stored_row = [&](int64_t r) {
    return stored.row_order.empty() ? first + r : stored.row_order[static_cast<size_t>(first + r)];
  };
  if (kept.type == stored.view.dtype && stored.added == 0 && !kept.transposed) {
    Tensor same = Tensor::Uninitialized(kept.type, {count, width});
    for (int64_t r = 0; r < count; ++r)
      std::copy_n(stored.view.data + stored_row(r) * row_bytes, row_bytes, same.data() + r * row_bytes);
    return same;
  }
  const Tensor values = kept.transposed ? TransposedRows(stored, first, count) : [&] {
    Tensor rows = Tensor::Uninitialized(DType::kF32, {count, width});
    for (int64_t r = 0; r < count; ++r) {
      float* row = rows.As<float>().data() + r * width;
      ToFloat(stored.view.dtype, stored.view.data + stored_row(r) * row_bytes, width, row);
      for (int64_t c = 0; c < width; ++c) row[c] -= stored.added;
    }
    return rows;
  }();
  for (const float value : values.As<float>()) {
    if (kept.type == DType::kF16 && std::abs(value) > 65504.0f) {
      throw Error(Concat("a value of ", value, " does not fit into float16"), kept.name,
                  "start from the model's Hugging Face folder");
    }
  }
  if (!IsBlockType(kept.type)) return FromFloat(values, kept.type);
  Tensor blocks = Tensor::Uninitialized(kept.type, {count, width});
  RoundToGguf(kept.type, values.As<float>().data(), count * width, blocks.data(), pool);
  return blocks;
}

DType FloatTypeOf(const ModelFiles& model) {
  const bool bfloat16 = std::ranges::any_of(model.reader().names(), [&](const std::string& name) {
    return model.reader().Get(name).dtype == DType::kBF16;
  });
  return bfloat16 ? DType::kBF16 : DType::kF16;
}

void AddEndTypes(const ModelSpec& spec, const EndTypes& ends, std::map<std::string, DType>& types) {
  if (ends.embedding) types[spec.Name("embedding")] = FittingGgufType(*ends.embedding, spec.embedding_width);
  if (ends.head && !spec.tied_head)
    types[spec.Name("head")] = FittingGgufType(*ends.head, spec.embedding_width);
}

std::vector<fs::path> SideFiles(const ModelFiles& model) {
  std::vector<fs::path> paths;
  if (model.is_gguf()) return paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(model.reader().folder())) {
    if (IsSideFile(entry)) paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

}  // namespace gptq
