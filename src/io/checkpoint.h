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

namespace gptq {

// A folder (model.safetensors, shards with their index, or a single other .safetensors file), a .safetensors
// file or a .gguf file. Headers are read and checked when it is opened, tensor data when touched. Movable;
// const use is safe from many threads. Views live as long as the reader.
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
  };

  void OpenFolder();
  void OpenShards(const std::filesystem::path& index_path);
  void Add(const SafetensorsFile& file, std::string_view name);
  void AddAll(const SafetensorsFile& file);
  void AddGguf();
  void CollectNames();

  std::filesystem::path path_;
  std::vector<std::shared_ptr<const SafetensorsFile>> shards_;
  std::shared_ptr<const GgufFile> gguf_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::vector<std::string> names_;
};

}  // namespace gptq
