#include "io/checkpoint_writer.h"

#include <cstdio>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "io/checked_size.h"

namespace gptq {
namespace {

// Consecutive declarations, cut where the next would exceed the limit.
std::vector<std::vector<TensorDeclaration>> SplitIntoShards(std::vector<TensorDeclaration> tensors,
                                                            int64_t max_bytes) {
  std::vector<std::vector<TensorDeclaration>> shards(1);
  int64_t used = 0;
  for (TensorDeclaration& tensor : tensors) {
    const std::optional<int64_t> bytes = CheckedByteSize(tensor.dtype, tensor.shape);
    CHECK(bytes);
    if (!shards.back().empty() && used + *bytes > max_bytes) {
      shards.emplace_back();
      used = 0;
    }
    used += *bytes;
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

std::string ShardName(size_t index, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

}  // namespace

CheckpointWriter::CheckpointWriter(std::filesystem::path folder, std::vector<TensorDeclaration> tensors,
                                   const Options& options)
    : folder_(std::move(folder)) {
  const auto parts = SplitIntoShards(std::move(tensors), options.max_shard_bytes);
  for (size_t i = 0; i < parts.size(); ++i) {
    AddShard(ShardName(i, parts.size()), LayOutSafetensors(parts[i], options.metadata), parts[i],
             options.resume);
  }
}

CheckpointWriter CheckpointWriter::Gguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                                        std::vector<TensorDeclaration> tensors, bool resume) {
  CheckpointWriter writer;
  writer.folder_ = path.parent_path();
  writer.AddShard(path.filename().string(), LayOutGguf(tensors, metadata), tensors, resume);
  return writer;
}

void CheckpointWriter::AddShard(const std::string& name, const TensorFileLayout& layout,
                                std::span<const TensorDeclaration> tensors, bool resume) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    Place place{.declaration = tensors[i], .shard = shards_.size(), .offset = layout.offsets[i]};
    place.bytes = *CheckedByteSize(place.declaration.dtype, place.declaration.shape);
    total_bytes_ += place.bytes;
    CHECK(places_.emplace(place.declaration.name, place).second);
  }
  OpenShard(name, layout, resume);
}

void CheckpointWriter::OpenShard(const std::string& name, const TensorFileLayout& layout, bool resume) {
  const std::filesystem::path path = folder_ / name;
  if (!resume) {
    WritableFile file = WritableFile::Create(path);
    file.Preallocate(layout.file_bytes);
    file.WriteAt(0, layout.header);
    shards_.push_back({name, std::move(file), true});
    return;
  }
  WritableFile file = WritableFile::Reopen(path);
  std::string header(layout.header.size(), '\0');
  if (file.size() == layout.file_bytes) file.ReadAt(0, std::as_writable_bytes(std::span<char>(header)));
  if (header != layout.header) {
    throw Error("unfinished output of another run or other options", path.string(),
                "start again with --restart");
  }
  shards_.push_back({name, std::move(file), true});
}

void CheckpointWriter::Divide(std::string_view name, const std::vector<std::string>& parts) {
  Place part = PlaceOf(name);
  CHECK(part.filled == 0 && !parts.empty());
  CHECK(part.declaration.shape.size() > 1 && part.declaration.shape[0] == static_cast<int64_t>(parts.size()));
  places_.erase(places_.find(name));
  part.declaration.shape.erase(part.declaration.shape.begin());
  part.bytes /= static_cast<int64_t>(parts.size());
  for (const std::string& part_name : parts) {
    part.declaration.name = part_name;
    CHECK(places_.emplace(part_name, part).second);
    part.offset += part.bytes;
  }
}

CheckpointWriter::Place& CheckpointWriter::PlaceOf(std::string_view name) {
  const auto found = places_.find(name);
  CHECK(found != places_.end());
  return found->second;
}

const CheckpointWriter::Place& CheckpointWriter::PlaceOf(std::string_view name) const {
  const auto found = places_.find(name);
  CHECK(found != places_.end());
  return found->second;
}

void CheckpointWriter::Write(std::string_view name, const TensorView& tensor) {
  const Place& place = PlaceOf(name);
  CHECK(tensor.dtype == place.declaration.dtype && tensor.shape == place.declaration.shape);
  CHECK(place.filled == 0);
  Append(name, std::span(tensor.data, static_cast<size_t>(tensor.bytes())));
}

void CheckpointWriter::Append(std::string_view name, std::span<const std::byte> bytes) {
  Place& place = PlaceOf(name);
  const auto size = static_cast<int64_t>(bytes.size());
  CHECK(!place.written && size <= place.bytes - place.filled);
  Shard& shard = shards_[place.shard];
  shard.file.WriteAt(place.offset + place.filled, bytes);
  shard.dirty = true;
  place.filled += size;
  place.written = place.filled == place.bytes;
}

void CheckpointWriter::MarkWritten(std::string_view name) {
  Place& place = PlaceOf(name);
  CHECK(!place.written);
  place.written = true;
}

Tensor CheckpointWriter::Read(std::string_view name) const {
  const Place& place = PlaceOf(name);
  CHECK(place.written);
  Tensor tensor = Tensor::Uninitialized(place.declaration.dtype, place.declaration.shape);
  shards_[place.shard].file.ReadAt(place.offset,
                                   std::span(tensor.data(), static_cast<size_t>(tensor.bytes())));
  return tensor;
}

void CheckpointWriter::Flush() {
  for (Shard& shard : shards_) {
    if (std::exchange(shard.dirty, false)) shard.file.Sync();
  }
}

void CheckpointWriter::Finish() {
  for (const auto& [name, place] : places_) CHECK(place.written);
  Flush();
  for (Shard& shard : shards_) shard.file.Close();
  if (shards_.size() > 1) WriteIndex();
}

void CheckpointWriter::WriteIndex() {
  Json index;
  index["metadata"]["total_size"] = total_bytes_;
  for (const auto& [name, place] : places_) index["weight_map"][name] = shards_[place.shard].name;
  WriteFile(folder_ / "model.safetensors.index.json", Dump(index, 2) + "\n");
}

std::vector<std::filesystem::path> CheckpointWriter::files() const {
  std::vector<std::filesystem::path> paths;
  for (const Shard& shard : shards_) paths.push_back(folder_ / shard.name);
  return paths;
}

const std::string& CheckpointWriter::FileOf(std::string_view name) const {
  return shards_[PlaceOf(name).shard].name;
}

}  // namespace gptq
