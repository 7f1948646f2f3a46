#include "io/safetensors_writer.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "io/checked_size.h"
#include "io/writable_file.h"

namespace gptq {
namespace {

constexpr size_t kAlignment = 64;

std::string TensorEntry(const TensorDeclaration& tensor, int64_t begin, int64_t end) {
  return Concat(Dump(tensor.name), ":{\"dtype\":", Dump(Name(tensor.dtype)),
                ",\"shape\":", Dump(tensor.shape), ",\"data_offsets\":[", begin, ",", end, "]}");
}

// The length, little-endian, and the padded JSON.
std::string HeaderBytes(std::string json) {
  json.append((kAlignment - (8 + json.size()) % kAlignment) % kAlignment, ' ');
  std::string bytes;
  for (size_t i = 0; i < 8; ++i) bytes += static_cast<char>(json.size() >> 8 * i & 0xff);
  return bytes + json;
}

}  // namespace

TensorFileLayout LayOutSafetensors(const std::vector<TensorDeclaration>& tensors,
                                   const SafetensorsMetadata& metadata) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return Info(tensors[a].dtype).block_bytes > Info(tensors[b].dtype).block_bytes;
  });
  std::string json = "{";
  if (!metadata.empty()) json += Concat("\"__metadata__\":", Dump(metadata));
  std::vector<int64_t> begins(tensors.size());
  std::set<std::string_view> names;
  int64_t end = 0;
  for (size_t index : order) {
    const TensorDeclaration& tensor = tensors[index];
    CHECK(!IsBlockType(tensor.dtype) && names.insert(tensor.name).second && tensor.name != "__metadata__");
    const std::optional<int64_t> bytes = CheckedByteSize(tensor.dtype, tensor.shape);
    CHECK(bytes);
    begins[index] = end;
    end += *bytes;
    if (json.size() > 1) json += ',';
    json += TensorEntry(tensor, begins[index], end);
  }
  TensorFileLayout layout{.header = HeaderBytes(json + "}"), .offsets = std::move(begins), .file_bytes = 0};
  const auto data_begin = static_cast<int64_t>(layout.header.size());
  for (int64_t& offset : layout.offsets) offset += data_begin;
  layout.file_bytes = data_begin + end;
  return layout;
}

void WriteSafetensors(const std::filesystem::path& path,
                      const std::vector<std::pair<std::string, TensorView>>& tensors,
                      const SafetensorsMetadata& metadata) {
  std::vector<TensorDeclaration> declarations;
  for (const auto& [name, view] : tensors) declarations.push_back({name, view.dtype, view.shape});
  const TensorFileLayout layout = LayOutSafetensors(declarations, metadata);
  WritableFile file = WritableFile::Replace(path);
  file.Preallocate(layout.file_bytes);
  file.WriteAt(0, layout.header);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorView& view = tensors[i].second;
    file.WriteAt(layout.offsets[i], std::span(view.data, static_cast<size_t>(view.bytes())));
  }
  file.Sync();
  file.Close();
}

}  // namespace gptq
