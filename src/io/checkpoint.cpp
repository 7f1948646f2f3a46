#include "io/checkpoint.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "io/quoted.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIndexSuffix = ".index.json";

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
  } else {
    reader.AddAll(path);
  }
  reader.CollectNames();
  return reader;
}

// NAME, the shards that NAME.index.json names, or those of the only other index of this kind.
bool CheckpointReader::OpenIndexed(const std::string& name, std::string_view suffix) {
  if (fs::exists(path_ / name)) return AddAll(path_ / name), true;
  const std::string index = Concat(name, kIndexSuffix);
  if (fs::exists(path_ / index)) return OpenShards(path_ / index), true;
  const std::vector<std::string> indexes = FilesEndingWith(path_, Concat(suffix, kIndexSuffix));
  if (indexes.size() == 1) return OpenShards(path_ / indexes[0]), true;
  return false;
}

void CheckpointReader::OpenFolder() {
  if (OpenIndexed("model.safetensors", ".safetensors") || OpenIndexed("pytorch_model.bin", ".bin")) return;
  const std::vector<std::string> files = FilesEndingWith(path_, ".safetensors");
  const size_t indexes = FilesEndingWith(path_, Concat(".safetensors", kIndexSuffix)).size();
  if (files.size() == 1 && indexes == 0) return AddAll(path_ / files[0]);
  if (!files.empty()) {
    throw Error(Concat("a folder with ", files.size(), " .safetensors files and ", indexes, " index files"),
                path_.string(), "add model.safetensors.index.json, or give one of the files");
  }
  for (const char* suffix : {".bin", ".pt", ".pth"}) {
    if (FilesEndingWith(path_, suffix).empty()) continue;
    throw Error("a folder without pytorch_model.bin, but with other PyTorch files", path_.string(),
                "give the file with the weights");
  }
  if (!FilesEndingWith(path_, ".gguf").empty()) {
    throw Error("a folder with GGUF files", path_.string(), "give the .gguf file itself");
  }
  throw Error("a folder without model.safetensors", path_.string(), "give a model folder or a .gguf file");
}

void CheckpointReader::OpenShards(const fs::path& index_path) {
  const std::map<std::string, std::string> index = ReadIndex(index_path);
  std::map<std::string, OpenedFile> opened;
  for (const auto& [tensor, shard] : index) {
    auto file = opened.find(shard);
    if (file == opened.end()) {
      if (!fs::exists(path_ / shard)) {
        throw Error(Concat("shard ", Quoted(shard), " is missing"), index_path.string(),
                    "fetch the missing file");
      }
      file = opened.emplace(shard, OpenFile(path_ / shard)).first;
    }
    const auto entry = file->second.entries.find(tensor);
    if (entry == file->second.entries.end()) {
      throw Error(Concat("the index names ", Quoted(shard), " for a tensor that is not in it"),
                  WhereTensor(index_path.string(), tensor), "fetch index and shards of the same version");
    }
    entries_.insert(*entry);
  }
  metadata_ = opened.begin()->second.metadata;
}

CheckpointReader::OpenedFile CheckpointReader::OpenFile(const fs::path& path) {
  OpenedFile opened;
  if (IsTorchName(path)) {
    const TorchFile file = TorchFile::Open(path);
    files_.push_back(file.file());
    for (const auto& [name, tensor] : file.tensors()) {
      Entry entry{{tensor->dtype(), tensor->shape(), nullptr}, file.file().get()};
      if (tensor->contiguous()) {
        entry.view = tensor->View();
      } else {
        entry.reordered = tensor;
      }
      opened.entries.emplace(name, std::move(entry));
    }
  } else {
    const SafetensorsFile file = SafetensorsFile::Open(path);
    files_.push_back(file.file());
    opened.metadata = file.metadata();
    for (const auto& [name, view] : file.tensors())
      opened.entries.emplace(name, Entry{view, file.file().get()});
  }
  return opened;
}

void CheckpointReader::AddAll(const fs::path& path) {
  OpenedFile opened = OpenFile(path);
  entries_ = std::move(opened.entries);
  metadata_ = std::move(opened.metadata);
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
  const Entry& entry = found->second;
  return entry.reordered ? entry.reordered->View() : entry.view;
}

TensorView CheckpointReader::Get(std::string_view name) const {
  std::optional<TensorView> view = Find(name);
  if (!view) {
    throw Error(Concat("no tensor ", Quoted(name)), path_.string(),
                "the model is incomplete or of another kind");
  }
  return *std::move(view);
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
  if (found == entries_.end() || found->second.reordered) return;  // an ordered copy stays until the end
  found->second.file->Release(found->second.view.data + offset, bytes);
}

}  // namespace gptq
