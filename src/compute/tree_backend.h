// Several sequences that begin alike, computed at once: a backend that takes the rows of one "sequence" for
// branches of trees.
#pragma once

#include <vector>

#include "compute/backend.h"

namespace gptq {

// Rows [first_row, first_row + rows) go on after rows [prefix_row, prefix_row + prefix_rows), which begin at
// position 0 and stand before them.
struct TreeSegment {
  int64_t first_row = 0, rows = 0;
  int64_t prefix_row = 0, prefix_rows = 0;
};

// All that works on single rows is handed to the other backend as it is; rotation and attention are done
// segment by segment. For Block::Forward with one sequence of all rows and no cache.
class TreeBackend : public Backend {
 public:
  // `inner` must outlive it.
  explicit TreeBackend(Backend& inner) : inner_(inner) {}
  // The segments cover all rows of the next calls, in their order.
  void SetSegments(std::vector<TreeSegment> segments) { segments_ = std::move(segments); }

  std::string Describe() const override { return inner_.Describe(); }
  ThreadPool& pool() override { return inner_.pool(); }
  void SetActivationBits(int bits) override { inner_.SetActivationBits(bits); }
  int activation_bits() const override { return inner_.activation_bits(); }
  bool RoundsAnyRows() const override { return inner_.RoundsAnyRows(); }
  void Rotate(const RotaryTable& table, int64_t first_position, int64_t sequence_tokens, int64_t head_dim,
              int64_t first_dimension, MatrixView x) override;
  void Attend(const AttentionShape& shape, MatrixView query, const KvRows& keys, const KvRows& values,
              MatrixView out) override;
  void ReceivedAttention(const AttentionShape& shape, MatrixView query, const float* keys,
                         std::span<float> received) override;

  void Embed(const Weight& table, std::span<const int32_t> ids, MatrixView out) override {
    inner_.Embed(table, ids, out);
  }
  void Norm(NormKind kind, double epsilon, MatrixView x, std::span<const float> weight,
            std::span<const float> bias, MatrixView y) override {
    inner_.Norm(kind, epsilon, x, weight, bias, y);
  }
  void Linear(MatrixView x, const Weight& weight, std::span<const float> bias, MatrixView y) override {
    inner_.Linear(x, weight, bias, y);
  }
  void Linears(MatrixView x, std::span<const LinearProduct> products) override {
    inner_.Linears(x, products);
  }
  void Activate(ActivationKind kind, MatrixView x, const MatrixView* factor) override {
    inner_.Activate(kind, x, factor);
  }
  void Add(MatrixView x, MatrixView y) override { inner_.Add(x, y); }
  void Scale(MatrixView x, float factor) override { inner_.Scale(x, factor); }
  void Clamp(MatrixView x, float limit) override { inner_.Clamp(x, limit); }
  void Softcap(MatrixView x, float cap) override { inner_.Softcap(x, cap); }
  void CopyColumns(MatrixView from, ColumnPieces source, MatrixView to, ColumnPieces destination,
                   int64_t pieces, int64_t width) override {
    inner_.CopyColumns(from, source, to, destination, pieces, width);
  }
  void GatherRows(MatrixView from, std::span<const int32_t> rows, MatrixView to) override {
    inner_.GatherRows(from, rows, to);
  }
  void AddToRows(MatrixView x, std::span<const int32_t> rows, std::span<const float> factors,
                 MatrixView y) override {
    inner_.AddToRows(x, rows, factors, y);
  }
  void NegativeLogLikelihood(MatrixView logits, std::span<const int32_t> targets,
                             std::span<double> out) override {
    inner_.NegativeLogLikelihood(logits, targets, out);
  }
  void CompareLogits(MatrixView reference, MatrixView logits, std::span<LogitDifference> out) override {
    inner_.CompareLogits(reference, logits, out);
  }

 private:
  Backend& inner_;
  std::vector<TreeSegment> segments_;
  Matrix keys_, values_;  // of one segment and what it goes on after
};

}  // namespace gptq
