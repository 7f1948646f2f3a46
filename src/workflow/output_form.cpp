#include "workflow/output_form.h"

#include <algorithm>
#include <cmath>

#include "base/convert.h"
#include "quant/gguf_block.h"
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

}  // namespace

Tensor ConvertRows(const KeptTensor& kept, int64_t first, int64_t count) {
  const CheckpointSource::Stored& stored = kept.stored;
  const int64_t width = stored.view.row_elements(), row_bytes = ByteSize(stored.view.dtype, width);
  const auto stored_row = [&](int64_t r) {
    return stored.row_order.empty() ? first + r : stored.row_order[static_cast<size_t>(first + r)];
  };
  if (kept.type == stored.view.dtype) {
    Tensor same = Tensor::Uninitialized(kept.type, {count, width});
    for (int64_t r = 0; r < count; ++r)
      std::copy_n(stored.view.data + stored_row(r) * row_bytes, row_bytes, same.data() + r * row_bytes);
    return same;
  }
  Tensor values = Tensor::Uninitialized(DType::kF32, {count, width});
  for (int64_t r = 0; r < count; ++r) {
    ToFloat(stored.view.dtype, stored.view.data + stored_row(r) * row_bytes, width,
            values.As<float>().data() + r * width);
  }
  for (const float value : values.As<float>()) {
    if (kept.type == DType::kF16 && std::abs(value) > 65504.0f) {
      throw Error(Concat("a value of ", value, " does not fit into float16"), kept.name,
                  "start from the model's Hugging Face folder");
    }
  }
  if (!IsBlockType(kept.type)) return FromFloat(values, kept.type);
  Tensor blocks = Tensor::Uninitialized(kept.type, {count, width});
  RoundToGguf(kept.type, values.As<float>().data(), count * width, blocks.data());
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
