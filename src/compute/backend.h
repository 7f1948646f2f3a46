// The operations that a decoder is made of. Chosen once at start; everything above works on any backend.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "base/thread_pool.h"
#include "compute/weight.h"

namespace gptq {

// Borrowed float32 matrix [rows, columns], rows contiguous.
struct MatrixView {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;

  MatrixView Rows(int64_t first, int64_t count) const { return {data + first * columns, count, columns}; }
  int64_t elements() const { return rows * columns; }
};

// Owned float32 matrix; the contents of a new one are undefined.
class Matrix {
 public:
  Matrix() = default;
  Matrix(int64_t rows, int64_t columns)
      : tensor_(Tensor::Uninitialized(DType::kF32, {rows, columns})), rows_(rows), columns_(columns) {}
  // Makes it [rows, columns], contents undefined; keeps its memory if that suffices.
  void Resize(int64_t rows, int64_t columns) {
    const int64_t capacity = tensor_.empty() ? 0 : tensor_.elements();
    if (rows * columns > capacity) *this = Matrix(rows, columns);
    rows_ = rows;
    columns_ = columns;
  }
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  float* data() { return reinterpret_cast<float*>(tensor_.data()); }
  const float* data() const { return reinterpret_cast<const float*>(tensor_.data()); }
  MatrixView view() { return {data(), rows_, columns_}; }
  // For reading: the backend's operations do not write to what they are given as input.
  MatrixView view() const { return {const_cast<float*>(data()), rows_, columns_}; }

 private:
  Tensor tensor_;
  int64_t rows_ = 0;
  int64_t columns_ = 0;
};

enum class NormKind { kRms, kLayer };
enum class ActivationKind { kSilu, kRelu, kGelu, kGeluTanh };

// Positions turned into angles: row p holds cos and sin of position p for each rotated pair of dimensions.
struct RotaryTable {
  int64_t pairs = 0;          // half of the rotated dimensions of a head
  std::vector<float> cosine;  // [positions, pairs], the attention factor multiplied in
  std::vector<float> sine;
};

// One causal attention over `sequences` independent sequences of equal length that lie one after the other.
struct AttentionShape {
  int64_t sequences = 1;
  int64_t query_tokens = 0;  // a sequence's rows of `query`
  int64_t key_tokens = 0;    // rows of keys and values of a sequence; the queries are the last ones of them
  int64_t key_stride = 0;    // rows from one sequence's keys to the next one's
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides heads
  int64_t head_dim = 0;
  float scale = 1.0f;
};

// How one row of logits differs from a reference's row.
struct LogitDifference {
  double divergence = 0;  // Kullback-Leibler, sum of p log(p / q) in nats, p the reference's probabilities
  bool same_top = false;  // the largest logit is at the same place, the first one of equals
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string Describe() const = 0;
  virtual ThreadPool& pool() = 0;

  // Memory for intermediate results, kept from call to call: contents undefined, valid until the same slot is
  // asked for again. Slots 0 .. kScratchSlots - 1.
  static constexpr int kScratchSlots = 3;
  MatrixView Scratch(int slot, int64_t rows, int64_t columns);
  // Makes `matrix` what Scratch gave last; the slot keeps the memory that it had.
  void SwapScratch(int slot, Matrix& matrix);

  // out[t] = table[ids[t]]; every id is a row of the table.
  virtual void Embed(const Weight& table, std::span<const int32_t> ids, MatrixView out) = 0;
  // y = norm(x) * weight + bias over each row; an empty weight is ones, an empty bias zeros. y may be x.
  virtual void Norm(NormKind kind, double epsilon, MatrixView x, std::span<const float> weight,
                    std::span<const float> bias, MatrixView y) = 0;
  // y = x Wᵀ + bias. bias [outputs] may be empty.
  virtual void Linear(MatrixView x, const Weight& weight, std::span<const float> bias, MatrixView y) = 0;
  // Rotates, in place, the first 2 * pairs dimensions of every head (dimension i with i + pairs). Row t of x
  // [rows, heads * head_dim] is at position first_position + t % sequence_tokens.
  virtual void Rotate(const RotaryTable& table, int64_t first_position, int64_t sequence_tokens,
                      int64_t head_dim, MatrixView x) = 0;
  // out [rows, heads * head_dim] = softmax(query keysᵀ * scale, causal) values, head by head.
  virtual void Attend(const AttentionShape& shape, MatrixView query, const float* keys, const float* values,
                      MatrixView out) = 0;
  // received[key] = the sum of what all queries and heads give to each key of Attend; no cache, so that every
  // key is a query's token. [rows].
  virtual void ReceivedAttention(const AttentionShape& shape, MatrixView query, const float* keys,
                                 std::span<float> received) = 0;
  // x = activation(x), times `factor` of the same shape if given (gated MLP).
  virtual void Activate(ActivationKind kind, MatrixView x, const MatrixView* factor) = 0;
  virtual void Add(MatrixView x, MatrixView y) = 0;  // x += y
  // -log softmax(logits[t])[targets[t]] in float64.
  virtual void NegativeLogLikelihood(MatrixView logits, std::span<const int32_t> targets,
                                     std::span<double> out) = 0;
  // Row by row; both of one shape.
  virtual void CompareLogits(MatrixView reference, MatrixView logits, std::span<LogitDifference> out) = 0;

 private:
  Matrix scratch_[kScratchSlots];
};

// `isa`: "" = GPTQ_ISA from the environment, else the best this processor has. Throws Error for one it lacks.
std::unique_ptr<Backend> MakeCpuBackend(int threads, const std::string& isa = "");

}  // namespace gptq
