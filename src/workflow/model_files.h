// MODEL of the command line: a folder or file, opened and understood, nothing loaded.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "compute/backend.h"
#include "io/checkpoint.h"
#include "model/architecture.h"
#include "model/decoder.h"
#include "model/spec.h"
#include "text/tokenizer.h"
#include "workflow/checkpoint_source.h"

namespace gptq {

class ModelFiles {
 public:
  // `architecture_file`: instead of the embedded ones; empty = choose by config.json. Throws Error.
  static std::unique_ptr<ModelFiles> Open(const std::filesystem::path& path,
                                          const std::filesystem::path& architecture_file = {});

  const CheckpointReader& reader() const { return reader_; }
  const Architecture& architecture() const { return architecture_; }
  const Json& config() const { return config_; }  // config.json, or made from GGUF metadata
  const ModelSpec& spec() const { return spec_; }
  const std::optional<QuantizationConfig>& quantization() const { return quantization_; }
  CheckpointSource& source() { return *source_; }
  bool is_gguf() const { return reader_.gguf() != nullptr; }

  // All blocks; unread tensors are errors. `max_tokens`: longest sequence.
  std::unique_ptr<Decoder> LoadDecoder(Backend& backend, int64_t max_tokens);
  // The same with a backend that rounds inputs to `activation_bits` from now on; below 32 quantized weights
  // of GGUF are re-laid for their kernels, too.
  std::unique_ptr<Decoder> LoadEngine(Backend& backend, int64_t max_tokens, int activation_bits);
  Tokenizer LoadTokenizer() const;

 private:
  explicit ModelFiles(CheckpointReader reader) : reader_(std::move(reader)) {}

  CheckpointReader reader_;
  Architecture architecture_;
  Json config_;
  ModelSpec spec_;
  std::optional<QuantizationConfig> quantization_;
  std::unique_ptr<CheckpointSource> source_;
};

// The tokenizer of a model, of a folder with tokenizer files only, of a tokenizer file, or of a GGUF file.
Tokenizer OpenTokenizer(const std::filesystem::path& path);

}  // namespace gptq
