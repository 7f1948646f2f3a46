// The quantized checkpoint as it grows: a Hugging Face folder, visible only when complete.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint_writer.h"
#include "io/output_folder.h"
#include "workflow/quantize_job.h"

namespace gptq {

// Where in PATH.partial the checkpoint lies; beside it, what is needed to go on after an interruption.
inline constexpr const char* kCheckpointFolder = "checkpoint";

// What can be known of an output path before any work: Error where something stands there that must not be
// replaced (anything without `overwrite`; with it the model itself, or a folder that holds no model), or
// where the unfinished output PATH.partial would delete what this program has not written.
void CheckOutputPath(const std::filesystem::path& output, bool overwrite, const std::filesystem::path& model);

class QuantizeOutput {
 public:
  // Claims the space on disk; throws WriteError where it is not to be had. `resume`: goes on with what an
  // earlier output of the same job has written.
  QuantizeOutput(QuantizeJob& job, OutputFolder& folder, bool resume);

  void MarkWritten(const PlannedLinear& linear);  // by the earlier output
  void WriteLinear(const PlannedLinear& linear, const PackedWeight& weight);
  void Flush() { writer_->Flush(); }  // what is written is on the disk when it returns
  // Everything that stays as it is: tensors (from GGUF as float16, in Hugging Face's names and row order),
  // config.json with its quantization_config, tokenizer and other side files.
  void Complete(const GptqConfig& config, Progress& progress);

 private:
  // A tensor kept: name in the output, and where it comes from.
  struct Kept {
    std::string name;
    CheckpointSource::Stored stored;
    DType dtype;
  };

  void WriteKept(const Kept& kept);
  void WriteSideFiles();

  QuantizeJob& job_;
  OutputFolder& folder_;
  std::vector<Kept> kept_;
  std::vector<TensorDeclaration> declarations_;
  std::unique_ptr<CheckpointWriter> writer_;
};

}  // namespace gptq
