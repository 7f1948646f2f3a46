// The activations of all calibration sequences between the stages of a block: in memory as far as it goes,
// the rest in a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/json.h"
#include "io/writable_file.h"
#include "model/block.h"

namespace gptq {

// Sequences of one length that go through the model together.
struct ActivationBatch {
  int64_t sequences = 1;
  int64_t tokens = 0;  // of each sequence
  int64_t rows() const { return sequences * tokens; }
};

struct ActivationShape {
  std::vector<ActivationBatch> batches;
  int streams = 1;           // 2: every batch a second time, as the unquantized model has it
  int64_t hidden = 0;        // columns of the residual stream
  int64_t widest_input = 0;  // columns of the widest input of a linear

  int64_t rows() const;
  int64_t LargestBatch() const;            // rows
  int64_t StateBytes(int64_t rows) const;  // of that many rows in all streams
  int64_t BoundaryBytes() const { return rows() * hidden * streams * static_cast<int64_t>(sizeof(float)); }
};

// What is kept of a batch never depends on where it lies. Files are read and written with plain calls, not
// mapped, so that they do not count as this process's memory. Failures of the disk throw WriteError.
class ActivationStore {
 public:
  // How many batches, from the first, are held in memory by `bytes`; if not all, one more has room there.
  static size_t ResidentBatches(const ActivationShape& shape, int64_t bytes);

  // Makes its files in `folder` and reserves their space. `boundary`: goes on from an earlier store of the
  // same shape, of which FinishBoundary gave this. Error where its file is damaged. `backend`: whose memory
  // the states may lie in.
  ActivationStore(ActivationShape shape, size_t resident_batches, std::filesystem::path folder,
                  const Json& boundary = {}, Backend* backend = nullptr);

  size_t batches() const { return shape_.batches.size(); }
  const ActivationShape& shape() const { return shape_; }
  // Bytes on disk that memory would hold if there were more of it.
  int64_t spilled_bytes() const;

  // A batch's states, one of each stream, until the next call. `with_hidden` false: `hidden` may be missing.
  std::span<BlockState> Load(size_t batch, bool with_hidden);
  // After Load: the states have changed, `hidden` among them or not.
  void Save(size_t batch, bool hidden_changed);
  // After Load and the end of a block (or before the first): `hidden` is all there is.
  void SaveBoundary(size_t batch);
  // The boundary that was saved is safe on the disk, and is what the next stages start from. What was the
  // boundary before stays untouched until the next SaveBoundary.
  Json FinishBoundary();
  // Memory of a batch that was loaded from the file goes back to the system.
  void Unload();

 private:
  // The bytes of a state's matrix, where they can be read.
  std::span<const std::byte> Bytes(const Matrix& matrix);
  // Into a state's matrix, from the program's memory.
  void Read(const WritableFile& file, int64_t offset, Matrix& matrix, int64_t rows, int64_t columns) const;
  bool resident(size_t batch) const { return batch < states_.size(); }
  std::vector<BlockState> EmptyStates(size_t batch) const;
  void OpenFiles(bool resume);
  void Restore(const Json& boundary);
  void ReadHidden(const WritableFile& file, size_t batch, std::span<BlockState> states) const;
  int64_t BoundaryOffset(size_t batch, size_t stream) const;
  int64_t SpillOffset(size_t batch, size_t stream, bool input) const;

  Backend* backend_;
  Matrix readable_;  // of a matrix in the backend's memory
  ActivationShape shape_;
  std::filesystem::path folder_;
  std::vector<int64_t> first_row_;               // of each batch, and the end
  std::vector<std::vector<BlockState>> states_;  // of resident batches
  std::vector<BlockState> current_;              // of the batch that is loaded from the file
  std::optional<size_t> current_batch_;
  std::optional<WritableFile> spill_;            // of the others, inside a block
  std::vector<WritableFile> boundaries_;         // two files of residual streams, in turn
  size_t side_ = 0;                              // of the current boundary
  std::vector<int64_t> input_columns_;           // of batches that are not resident; 0: none
  std::vector<bool> hidden_in_spill_;            // else in the boundary
  std::vector<std::optional<uint64_t>> hashes_;  // [batch, stream] of the boundary being saved
};

}  // namespace gptq
