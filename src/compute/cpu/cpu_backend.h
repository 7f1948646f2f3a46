// The Backend on the processor: OpenBLAS for products, own kernels for everything else, one pool of threads.
#pragma once

#include <functional>

#include "compute/backend.h"
#include "compute/cpu/packed_linear.h"
#include "compute/cpu/thread_scratch.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {

class CpuBackend : public Backend {
 public:
  CpuBackend(int threads, std::string_view isa);

  std::string Describe() const override;
  ThreadPool& pool() override { return pool_; }
  void SetActivationBits(int bits) override;
  int activation_bits() const override { return activation_bits_; }
  bool RoundsAnyRows() const override { return packed_kernels_.most_rows == INT64_MAX; }
  void Embed(const Weight& table, std::span<const int32_t> ids, MatrixView out) override;
  void Norm(NormKind kind, double epsilon, MatrixView x, std::span<const float> weight,
            std::span<const float> bias, MatrixView y) override;
  void Linear(MatrixView x, const Weight& weight, std::span<const float> bias, MatrixView y) override;
  void Linears(MatrixView x, std::span<const LinearProduct> products) override;
  void Rotate(const RotaryTable& table, int64_t first_position, int64_t sequence_tokens, int64_t head_dim,
              int64_t first_dimension, MatrixView x) override;
  void Attend(const AttentionShape& shape, MatrixView query, const KvRows& keys, const KvRows& values,
              MatrixView out) override;
  void ReceivedAttention(const AttentionShape& shape, MatrixView query, const float* keys,
                         std::span<float> received) override;
  void Activate(ActivationKind kind, MatrixView x, const MatrixView* factor) override;
  void Add(MatrixView x, MatrixView y) override;
  void Scale(MatrixView x, float factor) override;
  void Clamp(MatrixView x, float limit) override;
  void Softcap(MatrixView x, float cap) override;
  void CopyColumns(MatrixView from, ColumnPieces source, MatrixView to, ColumnPieces destination,
                   int64_t pieces, int64_t width) override;
  void GatherRows(MatrixView from, std::span<const int32_t> rows, MatrixView to) override;
  void AddToRows(MatrixView x, std::span<const int32_t> rows, std::span<const float> factors,
                 MatrixView y) override;
  void NegativeLogLikelihood(MatrixView logits, std::span<const int32_t> targets,
                             std::span<double> out) override;
  void CompareLogits(MatrixView reference, MatrixView logits, std::span<LogitDifference> out) override;

 private:
  // Whether products of so many rows with tiled weights go by integers.
  bool GoesByIntegers(int64_t rows) const;
  // x rounded to 8 bits, as llama.cpp does it for weights in such blocks.
  void ForRows(int64_t rows, const std::function<void(int64_t)>& row);

  ThreadPool pool_;
  const VectorKernels& kernels_;
  const PackedKernels& packed_kernels_;
  PackedInputBuffer packed_inputs_;
  int activation_bits_ = 32;
  ThreadScratch scratch_;
  Matrix panels_;  // of the weights of the product at hand
};

}  // namespace gptq
