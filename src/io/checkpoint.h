// All tensors of a model, whatever files they lie in.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "io/torch_file.h"

namespace gptq {

// A folder (model.safetensors or pytorch_model.bin, or shards with their index; else a single other
// .safetensors file), or a .safetensors, .gguf, .bin, .pt or .pth file. Headers are read and checked when it
// is opened, tensor data when touched. Movable; const use is safe from many threads. Views live as long as
// the reader.
class CheckpointReader {
 public:
  // Throws Error naming the file and the tensor.
  static CheckpointReader Open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  // Where config.json and the tokenizer of the model lie: the folder, or the file's folder.
  std::filesystem::path folder() const;

  const std::vector<std::string>& names() const { return names_; }  // sorted
  std::optional<TensorView> Find(std::string_view name) const;
  TensorView Get(std::string_view name) const;      // throws Error naming the checkpoint when there is none
  std::string FileOf(std::string_view name) const;  // for messages; path() when there is no such tensor
  int64_t tensor_bytes() const;                     // sum over all tensors

  // The model's GGUF file, nullptr when it is none. Lives as long as the reader.
  const GgufFile* gguf() const { return gguf_.get(); }
  // The safetensors __metadata__ (of the first shard).
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // The tensor's pages no longer count as this process's memory until they are touched again.
  void Release(std::string_view name) const;
  // A part of them: `bytes` from `offset`.
  void Release(std::string_view name, int64_t offset, int64_t bytes) const;

 private:
  struct Entry {
    TensorView view;
    const MappedFile* file = nullptr;
    std::shared_ptr<const TorchTensor> reordered = nullptr;  // elements out of order: `view` has no data
  };
  using Entries = std::map<std::string, Entry, std::less<>>;
  struct OpenedFile {
    Entries entries;
    std::map<std::string, std::string> metadata;
  };

  void OpenFolder();
  bool OpenIndexed(const std::string& name, std::string_view suffix);
  void OpenShards(const std::filesystem::path& index_path);
  OpenedFile OpenFile(const std::filesystem::path& path);
  void AddAll(const std::filesystem::path& path);
  void AddGguf();
  void CollectNames();

  std::filesystem::path path_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::shared_ptr<const GgufFile> gguf_;
  std::map<std::string, std::string> metadata_;
  Entries entries_;
  std::vector<std::string> names_;
};

}  // namespace gptq
