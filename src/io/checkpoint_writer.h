// The tensors of a model as safetensors shards or as one GGUF file, each written at its place as soon as it
// is known.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor.h"
#include "io/gguf_writer.h"
#include "io/safetensors_writer.h"
#include "io/writable_file.h"

namespace gptq {

// The layout follows from the declarations alone: model.safetensors when all fits in one shard, otherwise
// model-00001-of-0000N.safetensors ... and model.safetensors.index.json. Tensors are then written in any
// order, from one thread at a time. A file system too full is found by the constructor.
class CheckpointWriter {
 public:
  static constexpr int64_t kDefaultShardBytes = 5'000'000'000;

  struct Options {
    int64_t max_shard_bytes = kDefaultShardBytes;  // of tensor data; a larger tensor has a shard of its own
    SafetensorsMetadata metadata = {{"format", "pt"}};
    // Go on with the files of an earlier writer with the same declarations and options: what it wrote is
    // kept, and named by MarkWritten. Error when the files are missing or of another layout.
    bool resume = false;
  };

  // One GGUF file. Resuming: as above.
  static CheckpointWriter Gguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                               std::vector<TensorDeclaration> tensors, bool resume);
  // Makes all files inside `folder`, which exists. Throws Error naming the file.
  CheckpointWriter(std::filesystem::path folder, std::vector<TensorDeclaration> tensors,
                   const Options& options);
  CheckpointWriter(std::filesystem::path folder, std::vector<TensorDeclaration> tensors)
      : CheckpointWriter(std::move(folder), std::move(tensors), Options()) {}

  // The tensor is written in these parts of its first dimension, one each, under names of their own.
  void Divide(std::string_view name, const std::vector<std::string>& parts);
  // The tensor's bytes; type and shape are those declared. Each tensor is written once.
  void Write(std::string_view name, const TensorView& tensor);
  // The tensor's next bytes, for those too large to be in memory at once. Complete, it is written.
  void Append(std::string_view name, std::span<const std::byte> bytes);
  // Resumed only: the earlier writer has written this tensor and called Flush since.
  void MarkWritten(std::string_view name);
  // A tensor that is already written, read back.
  Tensor Read(std::string_view name) const;

  // What has been written is on the disk when it returns.
  void Flush();
  // After the last tensor: everything is on the disk, the files are closed.
  void Finish();

  int64_t total_bytes() const { return total_bytes_; }     // of tensor data
  std::vector<std::filesystem::path> files() const;        // of the shards
  const std::string& FileOf(std::string_view name) const;  // name of the shard

 private:
  struct Shard {
    std::string name;
    WritableFile file;
    bool dirty = false;
  };
  struct Place {
    TensorDeclaration declaration;
    size_t shard = 0;
    int64_t offset = 0;  // in the shard's file
    int64_t bytes = 0;
    int64_t filled = 0;  // of the bytes
    bool written = false;
  };

  CheckpointWriter() = default;
  void AddShard(const std::string& name, const TensorFileLayout& layout,
                std::span<const TensorDeclaration> tensors, bool resume);
  void OpenShard(const std::string& name, const TensorFileLayout& layout, bool resume);
  void WriteIndex();
  Place& PlaceOf(std::string_view name);
  const Place& PlaceOf(std::string_view name) const;

  std::filesystem::path folder_;
  std::vector<Shard> shards_;
  std::map<std::string, Place, std::less<>> places_;
  int64_t total_bytes_ = 0;
};

}  // namespace gptq
