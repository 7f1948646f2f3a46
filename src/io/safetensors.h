// One safetensors file: a JSON header that names tensors, then their bytes without gaps.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/tensor.h"
#include "io/mapped_file.h"

namespace gptq {

// Read-only and safe to share between threads. Everything the header says is checked when the file is opened,
// by the rules of the reference implementation (github.com/huggingface/safetensors): no overlap, no gap, no
// byte left over.
class SafetensorsFile {
 public:
  // Throws Error naming the file, and the tensor where there is one.
  static SafetensorsFile Open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Views into the mapped file, which lives as long as this object or a copy of it.
  const std::map<std::string, TensorView, std::less<>>& tensors() const { return tensors_; }

  std::optional<TensorView> Find(std::string_view name) const;
  TensorView Get(std::string_view name) const;  // throws Error when there is none

 private:
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, TensorView, std::less<>> tensors_;
};

}  // namespace gptq
