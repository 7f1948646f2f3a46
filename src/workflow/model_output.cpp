#include "workflow/model_output.h"

#include <algorithm>

namespace gptq {
namespace {

constexpr int64_t kPieceBytes = int64_t{1} << 24;  // of a kept tensor; more is never in memory

}  // namespace

ModelOutput::ModelOutput(ModelFiles& model, std::unique_ptr<OutputForm> form,
                         const std::filesystem::path& content, bool resume, ThreadPool& pool)
    : model_(model),
      pool_(pool),
      form_(std::move(form)),
      content_(content),
      kept_(form_->Kept()),
      made_(form_->Made()) {
  std::vector<TensorDeclaration> declarations;
  for (const auto& [module, linear] : form_->linears()) {
    for (TensorDeclaration& declaration : form_->Declare(module))
      declarations.push_back(std::move(declaration));
  }
  for (const KeptTensor& kept : kept_) declarations.push_back({kept.name, kept.type, kept.shape()});
  for (const auto& [name, tensor] : made_) declarations.push_back({name, tensor.dtype(), tensor.shape()});
  writer_ = form_->Open(content_, std::move(declarations), resume);
}

void ModelOutput::MarkWritten(const std::string& module) {
  for (const TensorDeclaration& declaration : form_->Declare(module)) writer_->MarkWritten(declaration.name);
}

void ModelOutput::WriteLinear(const std::string& module, const StoredMatrix& weight) {
  for (const auto& [name, tensor] : form_->Store(module, weight, pool_)) writer_->Write(name, tensor.view());
}

void ModelOutput::WriteKept(const KeptTensor& kept) {
  const TensorView& view = kept.stored.view;
  const int64_t rows = kept.transposed ? view.row_elements() : view.rows();
  const int64_t width = kept.transposed ? view.rows() : view.row_elements();
  const int64_t row_bytes = ByteSize(view.dtype, view.row_elements());
  const int64_t most = std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, width * 8));
  if (rows * width == 0) writer_->Append(kept.name, {});
  for (int64_t first = 0; first < rows && width > 0; first += most) {
    const int64_t count = std::min(most, rows - first);
    if (kept.as_it_is()) {
      writer_->Append(kept.name, {view.data + first * row_bytes, static_cast<size_t>(count * row_bytes)});
    } else {
      const Tensor piece = ConvertRows(kept, first, count, pool_);
      writer_->Append(kept.name, {piece.data(), static_cast<size_t>(piece.bytes())});
    }
    if (!kept.transposed && kept.stored.view.data == model_.reader().Get(kept.stored.name).data)
      model_.reader().Release(kept.stored.name, first * row_bytes, count * row_bytes);
  }
  model_.reader().Release(kept.stored.name);
}

void ModelOutput::Complete(Progress& progress) {
  progress.Stage("write", static_cast<int64_t>(kept_.size()));
  int64_t done = 0;
  for (const KeptTensor& kept : kept_) {
    WriteKept(kept);
    progress.Step(++done);
  }
  for (const auto& [name, tensor] : made_) writer_->Write(name, tensor.view());
  writer_->Finish();
  form_->WriteSideFiles(content_);
}

}  // namespace gptq
