// The quantized checkpoint as it grows: a Hugging Face folder, visible only when complete.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint_writer.h"
#include "io/output_folder.h"
#include "workflow/model_files.h"
#include "workflow/quantize_plan.h"

namespace gptq {

// What can be known of an output path before any work: Error where something stands there that must not be
// replaced (anything without `overwrite`; with it the model itself, or a folder that holds no model), or
// where the unfinished output PATH.partial would delete what this program has not written.
void CheckOutputPath(const std::filesystem::path& output, bool overwrite, const std::filesystem::path& model);

class QuantizeOutput {
 public:
  // Claims the output path and the space on disk; throws Error where either is not to be had.
  QuantizeOutput(const QuantizeOptions& options, ModelFiles& model, const QuantizePlan& plan);

  void WriteLinear(const PlannedLinear& linear, const PackedWeight& weight);
  // Everything that stays as it is: tensors (from GGUF as float16, in Hugging Face's names and row order),
  // config.json with its quantization_config, tokenizer and other side files. Then the folder appears at its
  // path.
  void Finish(const GptqConfig& config, Progress& progress);

 private:
  void WriteKept(Progress& progress);
  void WriteSideFiles();

  const QuantizeOptions& options_;
  ModelFiles& model_;
  OutputFolder folder_;
  // Tensors kept: name in the output -> where it comes from.
  struct Kept {
    std::string name;
    CheckpointSource::Stored stored;
    DType dtype;
  };
  std::vector<Kept> kept_;
  std::vector<TensorDeclaration> declarations_;
  std::unique_ptr<CheckpointWriter> writer_;
};

}  // namespace gptq
