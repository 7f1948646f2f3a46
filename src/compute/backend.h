// The operations that a decoder is made of. Chosen once at start; everything above works on any backend.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor.h"
#include "base/thread_pool.h"
#include "compute/device_memory.h"
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

// Owned float32 matrix; the contents of a new one are undefined. It lies in the program's memory, or in a
// backend's (Backend::Resize): then nobody else may read it.
class Matrix {
 public:
  Matrix() = default;
  Matrix(int64_t rows, int64_t columns, DeviceMemory* memory = nullptr) : rows_(rows), columns_(columns) {
    if (memory != nullptr) {
      device_ = memory->Allocate(rows * columns * static_cast<int64_t>(sizeof(float)));
      memory_ = memory;
      device_elements_ = rows * columns;
    } else {
      tensor_ = Tensor::Uninitialized(DType::kF32, {rows, columns});
    }
  }
  // Makes it [rows, columns], contents undefined; keeps its memory if that suffices.
  void Resize(int64_t rows, int64_t columns, DeviceMemory* memory) {
    if (rows * columns > 0 && (rows * columns > capacity() || memory != memory_)) {
      *this = Matrix();  // the old memory goes first
      *this = Matrix(rows, columns, memory);
    }
    rows_ = rows;
    columns_ = columns;
  }
  void Resize(int64_t rows, int64_t columns) { Resize(rows, columns, memory_); }
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  float* data() { return const_cast<float*>(std::as_const(*this).data()); }
  const float* data() const {
    return reinterpret_cast<const float*>(device_ ? device_.get() : tensor_.data());
  }
  MatrixView view() { return {data(), rows_, columns_}; }
  // For reading: the backend's operations do not write to what they are given as input.
  MatrixView view() const { return {const_cast<float*>(data()), rows_, columns_}; }

 private:
  int64_t capacity() const { return device_ ? device_elements_ : tensor_.empty() ? 0 : tensor_.elements(); }

  Tensor tensor_;
  std::shared_ptr<std::byte> device_;  // instead of the tensor
  DeviceMemory* memory_ = nullptr;     // that it comes from
  int64_t device_elements_ = 0;
  int64_t rows_ = 0;
  int64_t columns_ = 0;
};

// y = x Wᵀ + bias of an x that several share; the bias may be empty.
struct LinearProduct {
  const Weight* weight = nullptr;
  std::span<const float> bias;
  MatrixView y;
};

enum class NormKind { kRms, kLayer };
enum class ActivationKind { kSilu, kRelu, kReluSquared, kGelu, kGeluTanh };

// Positions turned into angles: row p holds cos and sin of position p for each rotated pair of dimensions.
struct RotaryTable {
  int64_t pairs = 0;          // half of the rotated dimensions of a head
  bool interleaved = false;   // a pair are dimensions 2i and 2i + 1, not i and i + pairs
  std::vector<float> cosine;  // [positions, pairs], the attention factor multiplied in
  std::vector<float> sine;
};

// One attention over `sequences` independent sequences of equal length that lie one after the other. A query
// sees the keys up to its own position, of these only the last `window` if there is one, or all keys.
struct AttentionShape {
  int64_t sequences = 1;
  int64_t query_tokens = 0;  // a sequence's rows of `query`
  int64_t key_tokens = 0;    // rows of keys and values of a sequence; the queries are the last ones of them
  int64_t key_stride = 0;    // rows from one sequence's keys to the next one's
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides heads
  int64_t head_dim = 0;
  float scale = 1.0f;
  int64_t value_dim = 0;  // of a head's values and output; 0: head_dim
  int64_t window = 0;     // keys that a query sees at most, its own among them; 0: all before it
  bool causal = true;     // false: a query sees the keys behind it, too
  float softcap = 0;      // if not 0, a score s becomes softcap * tanh(s / softcap)
  // Added to the scores of key k of head h: key_bias[h * key_bias_stride + k]. May be null.
  const float* key_bias = nullptr;
  int64_t key_bias_stride = 0;

  int64_t value_width() const { return value_dim > 0 ? value_dim : head_dim; }
  // Keys [FirstKey, EndKey) are seen by the query at `position`.
  int64_t FirstKey(int64_t position) const {
    return window > 0 && position >= window ? position + 1 - window : 0;
  }
  int64_t EndKey(int64_t position) const { return causal ? position + 1 : key_tokens; }
};

// Keys or values of tokens as attention reads them, borrowed. Plain ones are rows [tokens, heads * width] of
// float32; a cache keeps those of a head together.
struct KvRows {
  KvRows(const float* rows) : data(reinterpret_cast<const std::byte*>(rows)) {}  // implicit: plain ones
  KvRows(DType stored, const std::byte* rows, const float* row_scales, int64_t rows_of_a_head)
      : type(stored), data(rows), scales(row_scales), head_rows(rows_of_a_head) {}

  DType type = DType::kF32;  // F32, F16 or I8
  const std::byte* data = nullptr;
  const float* scales = nullptr;  // of I8: what its integers are multiplied with, [heads, head_rows]
  int64_t head_rows = 0;          // rows [heads, head_rows, width]; 0: [tokens, heads * width]

  // Elements between a head's rows.
  int64_t Stride(int64_t heads, int64_t width) const { return head_rows > 0 ? width : heads * width; }
  // The same, seen from row `row` of head `head`.
  KvRows From(int64_t row, int64_t head, int64_t heads, int64_t width) const {
    const int64_t place = head * head_rows + row;
    KvRows from = *this;
    from.data += ByteSize(type, head_rows > 0 ? place * width : (row * heads + head) * width);
    if (scales != nullptr) from.scales += place;
    return from;
  }
};

// Pieces of a matrix's columns: piece i begins at column first + i * stride.
struct ColumnPieces {
  int64_t first = 0, stride = 0;
};

// What a backend remembers of a step that comes again and again.
struct StepRecord {
  std::shared_ptr<void> recorded;
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

  // To how many bits products with quantized weights round their inputs, to go by integers, several times as
  // fast: 16 where that is faster (a relative error of about 2e-5 each) or always 8 (of about 5e-3); 32 =
  // they do not. At first 32.
  virtual void SetActivationBits(int bits) = 0;
  virtual int activation_bits() const = 0;
  // Whether integers of 16 bits are faster, and so taken, however many rows are multiplied.
  virtual bool RoundsAnyRows() const = 0;

  // Where matrices lie that the operations work on: all of them take others, too, which are then copied there
  // and back. Null: the program's memory.
  virtual DeviceMemory* memory() { return nullptr; }
  // Makes `matrix` [rows, columns] in that memory; keeps what it has if that suffices.
  void Resize(Matrix& matrix, int64_t rows, int64_t columns) { matrix.Resize(rows, columns, memory()); }
  // Moves a matrix there.
  void Adopt(Matrix& matrix);
  // The same values where the program can read them: x itself, or a copy in `buffer`.
  virtual MatrixView Readable(MatrixView x, Matrix& buffer);
  // Moves a matrix to where the program can read it.
  void MakeReadable(Matrix& matrix);
  virtual void Copy(MatrixView from, MatrixView to);
  virtual void Zero(MatrixView x);
  // Does `step`, one of many that are alike: from one to the next only `position` grows, where operations are
  // told positions or numbers of keys. A backend may record it, and do what is recorded.
  virtual void Step(StepRecord& record, int64_t position, const std::function<void()>& step);

  // Memory for intermediate results, kept from call to call: contents undefined, valid until the same slot is
  // asked for again. Slots 0 .. kScratchSlots - 1.
  static constexpr int kScratchSlots = 6;
  MatrixView Scratch(int slot, int64_t rows, int64_t columns);
  // Makes `matrix` what Scratch gave last; the slot keeps the memory that it had.
  void SwapScratch(int slot, Matrix& matrix);

  // out[t] = table[ids[t]]; every id is a row of the table.
  virtual void Embed(const Weight& table, std::span<const int32_t> ids, MatrixView out) = 0;
  // y = norm(x) * weight + bias over each row; an empty weight is ones, an empty bias zeros. y may be x.
  // Weight and bias may hold several rows: they are used in turn.
  virtual void Norm(NormKind kind, double epsilon, MatrixView x, std::span<const float> weight,
                    std::span<const float> bias, MatrixView y) = 0;
  // y = x Wᵀ + bias. bias [outputs] may be empty.
  virtual void Linear(MatrixView x, const Weight& weight, std::span<const float> bias, MatrixView y) = 0;
  // The same for several weights, all of x's columns: what can be is done once for all of them.
  virtual void Linears(MatrixView x, std::span<const LinearProduct> products);
  // Rotates, in place, 2 * pairs dimensions of every head from `first_dimension`. Row t of x
  // [rows, heads * head_dim] is at position first_position + t % sequence_tokens.
  virtual void Rotate(const RotaryTable& table, int64_t first_position, int64_t sequence_tokens,
                      int64_t head_dim, int64_t first_dimension, MatrixView x) = 0;
  // out [rows, heads * value_dim] = softmax(query keysᵀ * scale ...) values, head by head.
  virtual void Attend(const AttentionShape& shape, MatrixView query, const KvRows& keys, const KvRows& values,
                      MatrixView out) = 0;
  // Rounds `rows` to the type of a cache [heads, head_rows, width] and stores them from row `first` on.
  virtual void StoreKv(MatrixView rows, int64_t heads, int64_t first, const KvRows& to);
  // received[key] = the sum of what all queries and heads give to each key of Attend; no cache, so that every
  // key is a query's token. [rows].
  virtual void ReceivedAttention(const AttentionShape& shape, MatrixView query, const float* keys,
                                 std::span<float> received) = 0;
  // x = activation(x), times `factor` of the same shape if given (gated MLP).
  virtual void Activate(ActivationKind kind, MatrixView x, const MatrixView* factor) = 0;
  virtual void Add(MatrixView x, MatrixView y) = 0;  // x += y
  virtual void Scale(MatrixView x, float factor) = 0;
  virtual void Clamp(MatrixView x, float limit) = 0;  // to [-limit, limit]
  virtual void Softcap(MatrixView x, float cap) = 0;  // x = cap * tanh(x / cap)
  // Row by row, `pieces` pieces of `width` columns.
  virtual void CopyColumns(MatrixView from, ColumnPieces source, MatrixView to, ColumnPieces destination,
                           int64_t pieces, int64_t width) = 0;
  virtual void GatherRows(MatrixView from, std::span<const int32_t> rows,
                          MatrixView to) = 0;  // to[i] = from[rows[i]]
  // The upper triangle of sum [columns, columns] += xᵀ x, rows of x times `factors` if there are any. Only
  // where there is memory(): else compute/gram.h.
  virtual void AddGram(MatrixView x, std::span<const float> factors, MatrixView sum);
  // x[rows[i]] += factors[i] * y[i]; no row comes twice.
  virtual void AddToRows(MatrixView x, std::span<const int32_t> rows, std::span<const float> factors,
                         MatrixView y) = 0;
  // -log softmax(logits[t])[targets[t]] in float64.
  virtual void NegativeLogLikelihood(MatrixView logits, std::span<const int32_t> targets,
                                     std::span<double> out) = 0;
  // Row by row; both of one shape.
  virtual void CompareLogits(MatrixView reference, MatrixView logits, std::span<LogitDifference> out) = 0;

 private:
  Matrix scratch_[kScratchSlots];
};

// While it lives products with quantized weights round their inputs to 16 bits, if that is faster for any
// number of rows: a row's results do not hang on how many are multiplied with it.
class IntegerProducts {
 public:
  explicit IntegerProducts(Backend& backend) : backend_(backend), before_(backend.activation_bits()) {
    backend_.SetActivationBits(backend_.RoundsAnyRows() ? 16 : 32);
  }
  ~IntegerProducts() { backend_.SetActivationBits(before_); }
  IntegerProducts(const IntegerProducts&) = delete;
  IntegerProducts& operator=(const IntegerProducts&) = delete;

 private:
  Backend& backend_;
  int before_;
};

// `isa`: "" = GPTQ_ISA from the environment, else the best this processor has. Throws Error for one it lacks.
std::unique_ptr<Backend> MakeCpuBackend(int threads, const std::string& isa = "");

// On the first CUDA device. `threads`: of what the processor does besides. `memory_limit`: bytes of the
// device's memory that may be taken; 0: all that is free. Throws Error where the program is built without
// CUDA or there is no such device.
std::unique_ptr<Backend> MakeCudaBackend(int threads, int64_t memory_limit = 0);
// How many such devices there are: 0 without CUDA.
int CudaDeviceCount();

}  // namespace gptq
