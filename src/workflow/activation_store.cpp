#include "workflow/activation_store.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/hash.h"

namespace gptq {
namespace {

constexpr auto kFloat = static_cast<int64_t>(sizeof(float));

}  // namespace

int64_t ActivationShape::rows() const {
  int64_t sum = 0;
  for (const ActivationBatch& batch : batches) sum += batch.rows();
  return sum;
}

int64_t ActivationShape::LargestBatch() const {
  int64_t most = 0;
  for (const ActivationBatch& batch : batches) most = std::max(most, batch.rows());
  return most;
}

int64_t ActivationShape::StateBytes(int64_t rows) const {
  return rows * (hidden + widest_input) * streams * kFloat;
}

size_t ActivationStore::ResidentBatches(const ActivationShape& shape, int64_t bytes) {
  if (shape.StateBytes(shape.rows()) <= bytes) return shape.batches.size();
  int64_t left = bytes - shape.StateBytes(shape.LargestBatch());
  size_t count = 0;
  for (; count < shape.batches.size(); ++count) {
    left -= shape.StateBytes(shape.batches[count].rows());
    if (left < 0) break;
  }
  return count;
}

ActivationStore::ActivationStore(ActivationShape shape, size_t resident_batches, std::filesystem::path folder,
                                 const Json& boundary, Backend* backend)
    : backend_(backend),
      shape_(std::move(shape)),
      folder_(std::move(folder)),
      first_row_(1, 0),
      states_(std::min(resident_batches, shape_.batches.size())),
      input_columns_(shape_.batches.size()),
      hidden_in_spill_(shape_.batches.size()),
      hashes_(shape_.batches.size() * static_cast<size_t>(shape_.streams)) {
  for (const ActivationBatch& batch : shape_.batches) first_row_.push_back(first_row_.back() + batch.rows());
  for (size_t batch = 0; batch < states_.size(); ++batch) states_[batch] = EmptyStates(batch);
  OpenFiles(!boundary.is_null());
  if (!boundary.is_null()) Restore(boundary);
}

std::span<const std::byte> ActivationStore::Bytes(const Matrix& matrix) {
  const MatrixView view = backend_ == nullptr ? matrix.view() : backend_->Readable(matrix.view(), readable_);
  return std::as_bytes(std::span<const float>(view.data, static_cast<size_t>(view.elements())));
}

void ActivationStore::Read(const WritableFile& file, int64_t offset, Matrix& matrix, int64_t rows,
                           int64_t columns) const {
  if (matrix.rows() != rows || matrix.columns() != columns ||
      (backend_ != nullptr && backend_->memory() != nullptr))
    matrix = Matrix(rows, columns);
  file.ReadAt(offset,
              std::as_writable_bytes(std::span<float>(matrix.data(), static_cast<size_t>(rows * columns))));
  if (backend_ != nullptr) backend_->Adopt(matrix);
}

void ActivationStore::OpenFiles(bool resume) {
  for (const char* name : {"boundary.0", "boundary.1"}) {
    boundaries_.push_back(resume ? WritableFile::Reopen(folder_ / name)
                                 : WritableFile::Replace(folder_ / name));
    if (!resume) boundaries_.back().Preallocate(shape_.BoundaryBytes());
  }
  if (spilled_bytes() == 0) return;
  spill_ = WritableFile::Replace(folder_ / "activations");
  spill_->Preallocate(spilled_bytes());
}

int64_t ActivationStore::spilled_bytes() const {
  return shape_.StateBytes(first_row_.back() - first_row_[states_.size()]);
}

std::vector<BlockState> ActivationStore::EmptyStates(size_t batch) const {
  std::vector<BlockState> states(static_cast<size_t>(shape_.streams));
  for (BlockState& state : states) {
    state.sequences = shape_.batches[batch].sequences;
    state.tokens = shape_.batches[batch].tokens;
  }
  return states;
}

int64_t ActivationStore::BoundaryOffset(size_t batch, size_t stream) const {
  const int64_t rows = shape_.batches[batch].rows();
  return (first_row_[batch] * shape_.streams + static_cast<int64_t>(stream) * rows) * shape_.hidden * kFloat;
}

// Of each batch first the residual streams, then the inputs.
int64_t ActivationStore::SpillOffset(size_t batch, size_t stream, bool input) const {
  const int64_t rows = shape_.batches[batch].rows(), index = static_cast<int64_t>(stream);
  const int64_t begin = shape_.StateBytes(first_row_[batch] - first_row_[states_.size()]);
  const int64_t columns =
      input ? shape_.streams * shape_.hidden + index * shape_.widest_input : index * shape_.hidden;
  return begin + rows * columns * kFloat;
}

void ActivationStore::ReadHidden(const WritableFile& file, size_t batch, std::span<BlockState> states) const {
  for (size_t s = 0; s < states.size(); ++s) {
    const bool spilled = spill_ && &file == &*spill_;
    Read(file, spilled ? SpillOffset(batch, s, false) : BoundaryOffset(batch, s), states[s].hidden,
         shape_.batches[batch].rows(), shape_.hidden);
  }
}

std::span<BlockState> ActivationStore::Load(size_t batch, bool with_hidden) {
  if (resident(batch)) return states_[batch];
  if (!current_batch_ || shape_.batches[*current_batch_].rows() != shape_.batches[batch].rows()) Unload();
  if (current_.empty()) current_ = EmptyStates(batch);
  current_batch_ = batch;
  const std::vector<BlockState> shapes = EmptyStates(batch);
  for (size_t s = 0; s < current_.size(); ++s) {
    current_[s].sequences = shapes[s].sequences;
    current_[s].tokens = shapes[s].tokens;
    if (input_columns_[batch] > 0) {
      Read(*spill_, SpillOffset(batch, s, true), current_[s].input, shape_.batches[batch].rows(),
           input_columns_[batch]);
    }
    if (!with_hidden) current_[s].hidden = Matrix();
  }
  if (with_hidden) ReadHidden(hidden_in_spill_[batch] ? *spill_ : boundaries_[side_], batch, current_);
  return current_;
}

void ActivationStore::Save(size_t batch, bool hidden_changed) {
  if (resident(batch)) return;
  CHECK(current_batch_ == batch);
  input_columns_[batch] = current_.front().input.columns();
  CHECK(input_columns_[batch] <= shape_.widest_input);
  for (size_t s = 0; s < current_.size(); ++s) {
    if (input_columns_[batch] > 0) spill_->WriteAt(SpillOffset(batch, s, true), Bytes(current_[s].input));
    if (hidden_changed) spill_->WriteAt(SpillOffset(batch, s, false), Bytes(current_[s].hidden));
  }
  if (hidden_changed) hidden_in_spill_[batch] = true;
}

void ActivationStore::SaveBoundary(size_t batch) {
  CHECK(resident(batch) || current_batch_ == batch);
  std::vector<BlockState>& states = resident(batch) ? states_[batch] : current_;
  for (size_t s = 0; s < states.size(); ++s) {
    CHECK(states[s].hidden.rows() == shape_.batches[batch].rows());
    const std::span<const std::byte> bytes = Bytes(states[s].hidden);
    boundaries_[1 - side_].WriteAt(BoundaryOffset(batch, s), bytes);
    hashes_[batch * states.size() + s] = HashBytes(bytes);
  }
  input_columns_[batch] = 0;
}

Json ActivationStore::FinishBoundary() {
  side_ = 1 - side_;
  boundaries_[side_].Sync();
  std::fill(hidden_in_spill_.begin(), hidden_in_spill_.end(), false);
  Json hashes = Json::array();
  for (std::optional<uint64_t>& hash : hashes_) {
    hashes.push_back(hash ? Json(*hash) : Json());
    hash.reset();
  }
  return {{"side", side_}, {"hashes", std::move(hashes)}};
}

void ActivationStore::Unload() {
  current_.clear();
  current_batch_.reset();
}

void ActivationStore::Restore(const Json& boundary) {
  const auto damaged = [&](const std::filesystem::path& where) {
    return Error("the state of an earlier run is damaged", where.string(), "begin again with --restart");
  };
  const Json& hashes = boundary.at("hashes");
  side_ = boundary.at("side").get<size_t>();
  if (side_ > 1 || hashes.size() != hashes_.size()) throw damaged(folder_);
  for (size_t batch = 0; batch < batches(); ++batch) {
    const auto streams = static_cast<size_t>(shape_.streams);
    if (hashes[batch * streams].is_null()) continue;  // after the last block nobody needs it
    std::vector<BlockState> read;
    if (!resident(batch)) read = EmptyStates(batch);
    std::vector<BlockState>& states = resident(batch) ? states_[batch] : read;
    const WritableFile& file = boundaries_[side_];
    if (file.size() != shape_.BoundaryBytes()) throw damaged(file.path());
    ReadHidden(file, batch, states);
    for (size_t s = 0; s < streams; ++s) {
      if (hashes[batch * streams + s] != HashBytes(Bytes(states[s].hidden))) throw damaged(file.path());
    }
  }
}

}  // namespace gptq
