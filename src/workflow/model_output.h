// A model as it is written, tensor by tensor, in whatever format: see output_form.h.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/progress.h"
#include "io/checkpoint_writer.h"
#include "workflow/output_form.h"

namespace gptq {

class ModelOutput {
 public:
  // Claims the space on disk at `content`, a folder that exists or a file to be made; throws WriteError where
  // it is not to be had. `resume`: goes on with what an earlier output of the same settings has written.
  ModelOutput(ModelFiles& model, std::unique_ptr<OutputForm> form, const std::filesystem::path& content,
              bool resume, ThreadPool& pool);

  void MarkWritten(const std::string& module);  // by the earlier output
  void WriteLinear(const std::string& module, const StoredMatrix& weight);
  void Flush() { writer_->Flush(); }  // what is written is on the disk when it returns
  // Everything that stays as it is: other tensors, configuration, tokenizer and other side files.
  void Complete(Progress& progress);

 private:
  void WriteKept(const KeptTensor& kept);

  ModelFiles& model_;
  ThreadPool& pool_;
  std::unique_ptr<OutputForm> form_;
  std::filesystem::path content_;
  std::vector<KeptTensor> kept_;
  std::map<std::string, Tensor> made_;
  std::unique_ptr<CheckpointWriter> writer_;
};

}  // namespace gptq
