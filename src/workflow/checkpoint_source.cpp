#include "workflow/checkpoint_source.h"

#include <algorithm>
#include <cmath>

#include "base/convert.h"
#include "base/hash.h"
#include "base/name_pattern.h"
#include "io/quoted.h"
#include "model/gguf_model.h"
#include "quant/linear_tensors.h"

namespace gptq {
namespace {

[[noreturn]] void WrongShape(const std::string& name, const Shape& found, const Shape& expected,
                             const std::string& where) {
  throw Error(
      Concat("tensor '", name, "' has shape ", ToString(found), ", the config asks for ", ToString(expected)),
      where, "config.json and weights do not belong together");
}

}  // namespace

CheckpointSource::CheckpointSource(const CheckpointReader& reader, const Architecture& architecture,
                                   const ModelSpec& spec, std::optional<QuantizationConfig> quantization)
    : reader_(reader), architecture_(architecture), spec_(spec), quantization_(std::move(quantization)) {
  if (reader.gguf() != nullptr) places_ = GgufPlaces(architecture, spec);
}

std::string CheckpointSource::StoredName(const std::string& module, const std::string& kind) const {
  if (const auto whole = places_.find(module + "." + kind); whole != places_.end() && whole->second.whole)
    return whole->second.name;
  const auto found = places_.find(module);
  return (found == places_.end() ? module : found->second.name) + "." + kind;
}

std::optional<CheckpointSource::Stored> CheckpointSource::Find(const std::string& module,
                                                               const std::string& kind) const {
  Stored stored{StoredName(module, kind), {}, {}};
  const std::optional<TensorView> view = reader_.Find(stored.name);
  if (!view) return std::nullopt;
  stored.view = *view;
  const auto found = places_.find(module);
  if (found == places_.end()) return stored;
  const GgufPlace& place = found->second;
  if (place.part >= 0) {
    if (view->shape.size() < 2 || place.part >= view->rows()) return std::nullopt;
    stored.view.shape.erase(stored.view.shape.begin());
    stored.view.data += place.part * ByteSize(view->dtype, view->row_elements());
  }
  stored.row_order = GgufRowOrder(place.rows, spec_, stored.view.rows());
  if (kind == "weight") stored.added = place.added;
  return stored;
}

std::optional<Tensor> CheckpointSource::Joined(const std::string& module) const {
  const auto found = places_.find(module);
  if (found == places_.end() || found->second.joined_key.empty()) return std::nullopt;
  const std::string key_name = found->second.joined_key + ".weight",
                    value_name = found->second.joined_value + ".weight";
  const std::optional<TensorView> key = reader_.Find(key_name), value = reader_.Find(value_name);
  if (!key || !value) return std::nullopt;
  const LatentSpec& latent = spec_.latent;
  const Shape key_shape{spec_.heads, latent.rank, latent.plain_dim},
      value_shape{spec_.heads, latent.value_dim, latent.rank};
  if (key->shape != key_shape) WrongShape(key_name, key->shape, key_shape, Where());
  if (value->shape != value_shape) WrongShape(value_name, value->shape, value_shape, Where());
  const Tensor keys = ToFloat(*key), values = ToFloat(*value);
  const int64_t rows = latent.plain_dim + latent.value_dim;
  Tensor joined = Tensor::Uninitialized(DType::kF32, {spec_.heads * rows, latent.rank});
  for (int64_t head = 0; head < spec_.heads; ++head) {
    const float* from = keys.As<float>().data() + head * latent.rank * latent.plain_dim;
    float* to = joined.As<float>().data() + head * rows * latent.rank;
    for (int64_t r = 0; r < latent.plain_dim; ++r) {
      for (int64_t c = 0; c < latent.rank; ++c) to[r * latent.rank + c] = from[c * latent.plain_dim + r];
    }
    const int64_t size = latent.value_dim * latent.rank;
    std::copy_n(values.As<float>().data() + head * size, size, to + latent.plain_dim * latent.rank);
  }
  const DType type = key->dtype == value->dtype && IsFloat(key->dtype) ? key->dtype : DType::kF16;
  return FromFloat(joined, type);
}

std::optional<Weight> CheckpointSource::FindMatrix(const std::string& module, int64_t rows, int64_t columns,
                                                   MatrixLayout layout) {
  if (quantization_) {
    std::optional<Weight> packed = FindPacked(module, rows, columns);
    if (packed) return packed;
  }
  std::optional<Stored> stored = Find(module, "weight");
  if (!stored) return FindJoined(module, rows, columns);
  if (reader_.gguf() != nullptr && rows == 1 && stored->view.shape == Shape{columns})
    stored->view.shape = {1, columns};  // GGUF has no dimensions of 1 at its end
  const bool transposed = layout == MatrixLayout::kTransposed && reader_.gguf() == nullptr;
  const Shape expected = transposed ? Shape{columns, rows} : Shape{rows, columns};
  if (stored->view.shape != expected)
    WrongShape(stored->name, stored->view.shape, expected, reader_.FileOf(stored->name));
  if (!IsFloat(stored->view.dtype) && !IsBlockType(stored->view.dtype)) {
    throw Error(Concat("tensor '", stored->name, "' holds ", Name(stored->view.dtype), ", not weights"),
                reader_.FileOf(stored->name),
                "is this a quantized model whose config.json lost its quantization_config?");
  }
  read_.insert(stored->name);
  if (transposed) return Weight::Transposed(stored->view);
  return Weight(stored->view, std::move(stored->row_order));
}

std::optional<Weight> CheckpointSource::FindJoined(const std::string& module, int64_t rows, int64_t columns) {
  std::optional<Tensor> joined = Joined(module);
  if (!joined) return std::nullopt;
  if (joined->shape() != Shape{rows, columns}) WrongShape(module, joined->shape(), {rows, columns}, Where());
  const GgufPlace& place = places_.at(module);
  read_.insert({place.joined_key + ".weight", place.joined_value + ".weight"});
  return Weight(*std::move(joined));
}

std::optional<Weight> CheckpointSource::FindPacked(const std::string& module, int64_t rows, int64_t columns) {
  const std::string codes = CodesName(module, quantization_->settings.format);
  if (!reader_.Find(codes)) return std::nullopt;
  const std::optional<LinearSettings> settings = SettingsOf(*quantization_, module);
  if (!settings) {
    throw Error(Concat("'", codes, "' is stored, but quantization_config leaves the module unquantized"),
                Where(), "config.json and weights do not belong together");
  }
  std::vector<std::string> found;
  const auto find = [&](const std::string& name) {
    const std::optional<TensorView> view = reader_.Find(name);
    if (view) found.push_back(name);
    return view;
  };
  PackedWeight weight = LoadLinear(find, module, *settings, Where(), &warnings_, columns);
  if (weight.rows != rows || weight.columns != columns) {
    WrongShape(codes, {weight.rows, weight.columns}, {rows, columns}, Where());
  }
  for (const std::string& name : found) reader_.Release(name);  // copied
  read_.insert(found.begin(), found.end());
  return Weight(weight, pool_);
}

std::optional<std::vector<float>> CheckpointSource::FindVector(const std::string& module,
                                                               const std::string& kind, int64_t size) {
  const std::optional<Stored> stored = Find(module, kind);
  if (!stored) return std::nullopt;
  if (stored->view.shape != Shape{size}) {
    WrongShape(stored->name, stored->view.shape, {size}, reader_.FileOf(stored->name));
  }
  read_.insert(stored->name);
  std::vector<float> values(static_cast<size_t>(size));
  ToFloat(stored->view.dtype, stored->view.data, size, values.data());
  for (float& value : values) value -= stored->added;
  if (stored->row_order.empty()) return values;
  std::vector<float> ordered(values.size());
  for (size_t r = 0; r < values.size(); ++r) ordered[r] = values[static_cast<size_t>(stored->row_order[r])];
  return ordered;
}

// Elements [first, first + count): whole blocks of every type.
uint64_t CheckpointSource::CheckPiece(const std::string& name, const TensorView& view, int64_t first,
                                      int64_t count) const {
  const std::byte* data = view.data + ByteSize(view.dtype, first);
  const uint64_t hash = HashBytes({data, static_cast<size_t>(ByteSize(view.dtype, count))});
  if (!read_.contains(name) || (!IsFloat(view.dtype) && !IsBlockType(view.dtype))) return hash;
  std::vector<float> values(static_cast<size_t>(count));
  ToFloat(view.dtype, data, count, values.data());
  const auto bad = std::ranges::find_if_not(values, [](float x) { return std::isfinite(x); });
  if (bad == values.end()) return hash;
  const int64_t place = first + (bad - values.begin()), width = std::max<int64_t>(1, view.row_elements());
  throw Error(Concat("a weight is NaN or infinite (row ", place / width, ", column ", place % width,
                     " of tensor '", name, "')"),
              reader_.FileOf(name), "the file is damaged; fetch the model again");
}

uint64_t CheckpointSource::CheckContents(ThreadPool& pool) const {
  constexpr int64_t kPiece = int64_t{1} << 16;  // elements
  constexpr int64_t kPart = kPiece << 7;        // elements after which the memory is given back
  uint64_t hash = 0;
  for (const std::string& name : reader_.names()) {
    const TensorView view = reader_.Get(name);
    hash = HashText(Concat(name, " ", Name(view.dtype), " ", ToString(view.shape)), hash);
    const int64_t elements = view.elements();
    for (int64_t part = 0; part < elements; part += kPart) {
      const int64_t end = std::min(part + kPart, elements);
      std::vector<uint64_t> hashes(static_cast<size_t>((end - part + kPiece - 1) / kPiece));
      pool.ParallelFor(static_cast<int64_t>(hashes.size()), [&](int64_t piece) {
        const int64_t first = part + piece * kPiece;
        hashes[piece] = CheckPiece(name, view, first, std::min(kPiece, end - first));
      });
      hash = HashBytes(std::as_bytes(std::span(hashes)), hash);
      reader_.Release(name, ByteSize(view.dtype, part), ByteSize(view.dtype, end - part));
    }
  }
  return hash;
}

int64_t CheckpointSource::StoredBytes(const std::string& module) const {
  const std::optional<Stored> stored = Find(module, "weight");
  return stored ? stored->view.bytes() : 0;
}

void CheckpointSource::Release(const std::string& module) const {
  const std::optional<Stored> stored = Find(module, "weight");
  if (!stored) return;
  const TensorView whole = reader_.Get(stored->name);
  reader_.Release(stored->name, stored->view.data - whole.data, stored->view.bytes());
}

void CheckpointSource::ReleaseAll() const {
  for (const std::string& name : reader_.names()) reader_.Release(name);
}

void CheckpointSource::CheckAllRead() const {
  std::vector<NamePattern> ignored;
  for (const Json& pattern : architecture_.json.value("ignored_tensors", Json::array())) {
    ignored.push_back(NamePattern::Parse(pattern.get<std::string>()).value());
  }
  const std::string head = StoredName(spec_.Name("head"), "weight");
  for (const std::string& name : reader_.names()) {
    if (read_.contains(name) || (spec_.tied_head && name == head)) continue;
    if (reader_.gguf() != nullptr && IsRotaryFactors(name)) continue;  // their values are in the config
    if (std::ranges::any_of(ignored, [&](const NamePattern& p) { return p.Matches(name); })) continue;
    throw Error(
        Concat("tensor ", Quoted(name), " is not part of architecture '", spec_.architecture, "'"),
        reader_.FileOf(name),
        "the model computes something this architecture does not: pass a fitting file by --architecture");
  }
}

}  // namespace gptq
