#include "io/checkpoint.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "io/quoted.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIndexSuffix = ".safetensors.index.json";
constexpr std::string_view kConvertTorch = "convert it to safetensors first (transformers: save_pretrained)";

// Names of the files in a folder that end so, sorted.
std::vector<std::string> FilesEndingWith(const fs::path& folder, std::string_view suffix) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end; entry.increment(code)) {
    std::string name = entry->path().filename().string();
    if (name.ends_with(suffix) && !name.starts_with(".")) names.push_back(std::move(name));
  }
  if (code)
    throw Error(Concat("cannot list the folder (", code.message(), ")"), folder.string(),
                "check its permissions");
  std::sort(names.begin(), names.end());
  return names;
}

bool IsTorchName(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth";
}

// A shard is a plain file name: no way out of the folder.
void CheckShardName(const std::string& name, const std::string& where) {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of("/\\") == std::string::npos && name.find('\0') == std::string::npos;
  if (!plain) {
    throw Error(Concat("shard name ", Quoted(name), " is not a plain file name"), where,
                "the index is damaged or hostile: fetch it again");
  }
}

// tensor -> shard
std::map<std::string, std::string> ReadIndex(const fs::path& path) {
  const std::string where = path.string();
  const std::string text = ReadTextFile(path, 100'000'000);
  const Json index = ParseJson(text, where);
  const auto found = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || found == index.end() || !found->is_object() || found->empty()) {
    throw Error("an index without weight_map", where, "fetch the index again");
  }
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : found->items()) {
    if (!shard.is_string())
      throw Error("a weight_map entry that is not a file name", WhereTensor(where, tensor),
                  "fetch the index again");
    CheckShardName(shard.get_ref<const std::string&>(), where);
    shards[tensor] = shard.get<std::string>();
  }
  return shards;
}

}  // namespace

CheckpointReader CheckpointReader::Open(const fs::path& path) {
  CheckpointReader reader;
  reader.path_ = path;
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (!fs::exists(status)) {
    throw Error(
        Concat("no such file or folder",
               code && code != std::errc::no_such_file_or_directory ? " (" + code.message() + ")" : ""),
        path.string(), "check the path of the model");
  }
  if (fs::is_directory(status)) {
    reader.OpenFolder();
  } else if (path.extension() == ".gguf" || GgufFile::LooksLike(path)) {
    reader.gguf_ = std::make_shared<const GgufFile>(GgufFile::Open(path));
    reader.AddGguf();
  } else if (IsTorchName(path)) {
    throw Error("a PyTorch checkpoint is not read", path.string(), kConvertTorch);
  } else {
    reader.AddAll(SafetensorsFile::Open(path));
  }
  reader.CollectNames();
  return reader;
}

void CheckpointReader::OpenFolder() {
  if (fs::exists(path_ / "model.safetensors"))
    return AddAll(SafetensorsFile::Open(path_ / "model.safetensors"));
  const std::string standard_index = Concat("model", kIndexSuffix);
  if (fs::exists(path_ / standard_index)) return OpenShards(path_ / standard_index);
  const std::vector<std::string> indexes = FilesEndingWith(path_, kIndexSuffix);
  if (indexes.size() == 1) return OpenShards(path_ / indexes[0]);
  const std::vector<std::string> files = FilesEndingWith(path_, ".safetensors");
  if (indexes.empty() && files.size() == 1) return AddAll(SafetensorsFile::Open(path_ / files[0]));
  if (!files.empty()) {
    throw Error(
        Concat("a folder with ", files.size(), " .safetensors files and ", indexes.size(), " index files"),
        path_.string(), "add model.safetensors.index.json, or give one of the files");
  }
  if (!FilesEndingWith(path_, ".bin").empty() || !FilesEndingWith(path_, ".pth").empty()) {
    throw Error("a folder with PyTorch weights only, which are not read", path_.string(), kConvertTorch);
  }
  if (!FilesEndingWith(path_, ".gguf").empty()) {
    throw Error("a folder with GGUF files", path_.string(), "give the .gguf file itself");
  }
  throw Error("a folder without model.safetensors", path_.string(), "give a model folder or a .gguf file");
}

void CheckpointReader::OpenShards(const fs::path& index_path) {
  const std::map<std::string, std::string> index = ReadIndex(index_path);
  std::map<std::string, const SafetensorsFile*> opened;
  for (const auto& [tensor, shard] : index) {
    const SafetensorsFile*& file = opened[shard];
    if (file == nullptr) {
      if (!fs::exists(path_ / shard)) {
        throw Error(Concat("shard ", Quoted(shard), " is missing"), index_path.string(),
                    "fetch the missing file");
      }
      shards_.push_back(std::make_shared<const SafetensorsFile>(SafetensorsFile::Open(path_ / shard)));
      file = shards_.back().get();
    }
    if (!file->Find(tensor)) {
      throw Error(Concat("the index names ", Quoted(shard), " for a tensor that is not in it"),
                  WhereTensor(index_path.string(), tensor), "fetch index and shards of the same version");
    }
    Add(*file, tensor);
  }
  metadata_ = opened.begin()->second->metadata();
}

void CheckpointReader::Add(const SafetensorsFile& file, std::string_view name) {
  entries_.emplace(name, Entry{file.Get(name), &file.file()});
}

void CheckpointReader::AddAll(const SafetensorsFile& file) {
  shards_.push_back(std::make_shared<const SafetensorsFile>(file));
  metadata_ = file.metadata();
  for (const auto& [name, view] : file.tensors()) entries_.emplace(name, Entry{view, &file.file()});
}

void CheckpointReader::AddGguf() {
  const int64_t parts = gguf_->FindInteger("split.count").value_or(1);
  if (parts > 1) {
    throw Error(Concat("one of ", parts, " parts of a split GGUF file"), path_.string(),
                "join the parts first (llama-gguf-split --merge)");
  }
  for (const auto& [name, view] : gguf_->tensors()) entries_.emplace(name, Entry{view, &gguf_->file()});
}

void CheckpointReader::CollectNames() {
  for (const auto& [name, entry] : entries_) names_.push_back(name);
}

fs::path CheckpointReader::folder() const {
  std::error_code code;
  if (fs::is_directory(path_, code)) return path_;
  const fs::path parent = path_.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

std::optional<TensorView> CheckpointReader::Find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return std::nullopt;
  return found->second.view;
}

TensorView CheckpointReader::Get(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    throw Error(Concat("no tensor ", Quoted(name)), path_.string(),
                "the model is incomplete or of another kind");
  }
  return found->second.view;
}

std::string CheckpointReader::FileOf(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? path_.string() : found->second.file->path().string();
}

int64_t CheckpointReader::tensor_bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, entry] : entries_) bytes += entry.view.bytes();
  return bytes;
}

void CheckpointReader::Release(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found != entries_.end()) Release(name, 0, found->second.view.bytes());
}

void CheckpointReader::Release(std::string_view name, int64_t offset, int64_t bytes) const {
  const auto found = entries_.find(name);
  if (found != entries_.end()) found->second.file->Release(found->second.view.data + offset, bytes);
}

}  // namespace gptq
