// The model that others are compared with: what its blocks give for the windows of a text, from a run or from
// the file that an earlier run left.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "io/output_folder.h"
#include "io/safetensors.h"
#include "io/writable_file.h"
#include "workflow/model_files.h"
#include "workflow/text_windows.h"

namespace gptq {

class ReferenceStates {
 public:
  // `cache`: safetensors file of an earlier object with the same model, tokens and windows, to be read;
  // written anew where it is missing or of something else; empty = none. Throws Error when the file at that
  // path is not such a cache. All arguments must outlive the object.
  ReferenceStates(ModelFiles& model, Backend& backend, const TextWindows& windows,
                  const std::filesystem::path& cache);

  bool from_cache() const { return cached_.has_value(); }
  // Residual stream [length, hidden] after the last block. Windows are asked for in their order, each once.
  // `observe`, if given, sees the residual stream after each block; not where the cache spares the run.
  Matrix Hidden(int64_t window,
                const std::function<void(int64_t block, MatrixView hidden)>& observe = nullptr);
  // Logits [rows, vocabulary] of rows of Hidden.
  Matrix Logits(MatrixView hidden) const;
  // Puts the new cache, if there is one, in its place. Without this call nothing remains of it.
  void Commit();

 private:
  void OpenCache(const std::filesystem::path& path, const std::string& key);
  void BeginCache(const std::filesystem::path& path, const std::string& key);

  ModelFiles& model_;
  Backend& backend_;
  const TextWindows& windows_;
  std::optional<SafetensorsFile> cached_;
  std::unique_ptr<EmbeddingAndHead> ends_;  // with a cache; nothing else of the model is loaded then
  std::unique_ptr<Decoder> decoder_;        // without
  std::unique_ptr<OutputFile> output_;      // the new cache
  std::optional<WritableFile> file_;
  int64_t data_offset_ = 0;
};

}  // namespace gptq
