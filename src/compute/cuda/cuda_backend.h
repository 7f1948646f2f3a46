// The Backend on a CUDA device. A few rows of inputs meet packed weights as integers of 16 bits, and other
// weights as float32. Many rows become float16, all sums float32; with 32 bits of activations what float16
// leaves of them is multiplied, too, and attention is float32. Everything between is float32.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "compute/backend.h"
#include "compute/cuda/attention.h"
#include "compute/cuda/device_weight.h"
#include "compute/cuda/products.h"
#include "compute/cuda/runtime.h"

namespace gptq::cuda {

class CudaBackend : public Backend, public DeviceMemory {
 public:
  CudaBackend(int threads, int64_t memory_limit);
  ~CudaBackend() override;

  const std::shared_ptr<Device>& device() const { return device_; }

  std::string Describe() const override;
  ThreadPool& pool() override { return host_->pool(); }
  void SetActivationBits(int bits) override { activation_bits_ = bits; }
  int activation_bits() const override { return activation_bits_; }
  bool RoundsAnyRows() const override { return false; }
  DeviceMemory* memory() override { return this; }
  std::shared_ptr<std::byte> Allocate(int64_t bytes) override;
  int64_t Free() const override { return device_->memory_limit() - device_->allocated(); }
  MatrixView Readable(MatrixView x, Matrix& buffer) override;
  void Copy(MatrixView from, MatrixView to) override;
  void Zero(MatrixView x) override;
  void Step(StepRecord& record, int64_t position, const std::function<void()>& step) override;
  void Embed(const Weight& table, std::span<const int32_t> ids, MatrixView out) override;
  void Norm(NormKind kind, double epsilon, MatrixView x, std::span<const float> weight,
            std::span<const float> bias, MatrixView y) override;
  void Linear(MatrixView x, const Weight& weight, std::span<const float> bias, MatrixView y) override;
  void Linears(MatrixView x, std::span<const LinearProduct> products) override;
  void Rotate(const RotaryTable& table, int64_t first_position, int64_t sequence_tokens, int64_t head_dim,
              int64_t first_dimension, MatrixView x) override;
  void Attend(const AttentionShape& shape, MatrixView query, const KvRows& keys, const KvRows& values,
              MatrixView out) override;
  void StoreKv(MatrixView rows, int64_t heads, int64_t first, const KvRows& to) override;
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
  void AddGram(MatrixView x, std::span<const float> factors, MatrixView sum) override;
  void AddToRows(MatrixView x, std::span<const int32_t> rows, std::span<const float> factors,
                 MatrixView y) override;
  void NegativeLogLikelihood(MatrixView logits, std::span<const int32_t> targets,
                             std::span<double> out) override;
  void CompareLogits(MatrixView reference, MatrixView logits, std::span<LogitDifference> out) override;

 private:
  // An operand on the device: where it lies, or a copy. One that is written goes back with Return.
  class Operand;
  struct Constant {
    std::vector<std::byte> copy;  // of what was given: another one may come at the same place
    Memory memory;
  };

  // What the program keeps and does not change while this is used: weights of norms, biases, tables.
  const float* ConstantFloats(std::span<const float> values);
  Memory Upload(const void* data, int64_t bytes);
  Position PositionOf(int64_t position) const;
  void MultiplyTiled(MatrixView x, const Product& product);

  // While a step is recorded some operations wait, to be done together with the next ones:
  struct WaitingNorm {  // with the products of y, which then need not be written, if it is overwritten unread
    Fusion fusion;
    MatrixView x, y;
  };
  struct WaitingProducts {  // with an addition of the result, or an activation
    const float* x;
    Fusion fusion;
    std::vector<Product> products;
  };
  struct WaitingRotation {  // with the attention
    Rotation rotation;
    MatrixView x;
  };
  struct WaitingRows {  // on their way to a cache, with the attention
    MatrixView rows;
    int64_t heads;
    Position first;
    KvRows to;
  };
  bool FuseProducts(MatrixView x, std::span<const Product> products);
  bool FuseAttention(const AttentionShape& shape, MatrixView query, const KvRows& keys, const KvRows& values,
                     int64_t most_keys, float* out);
  void DoProducts();
  void DoNorm();
  void DoWaiting();  // all but the norm
  void DoAllWaiting();
  void Overwritten(const float* to) {  // what waits to be written there
    if (norm_ && norm_->y.data == to) norm_.reset();
  }
  void* Buffer(Memory& memory, int64_t& bytes, int64_t needed);

  std::shared_ptr<Device> device_;
  std::unique_ptr<Backend> host_;  // for what is rarely asked for
  int activation_bits_ = 32;
  std::unordered_map<const void*, Constant> constants_;
  PackedInputs packed_inputs_;
  Memory input_buffer_, weight_buffer_;
  int64_t input_bytes_ = 0, weight_bytes_ = 0;
  ManyQueriesAttention many_queries_;
  Memory position_;  // int32: where a recorded step stands
  bool recording_ = false;
  std::optional<WaitingNorm> norm_;
  std::optional<WaitingProducts> products_;
  std::vector<WaitingRotation> rotations_;
  std::vector<WaitingRows> rows_;
  int64_t recorded_position_ = 0;
  int64_t readings_ = 0;  // of the device's memory by the program, so far
};

}  // namespace gptq::cuda
