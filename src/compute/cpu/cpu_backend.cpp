#include "compute/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "compute/blas.h"
#include "compute/cpu/attention.h"
#include "compute/cpu/received_attention.h"

namespace gptq {
namespace {

constexpr int64_t kRowTile = 512;               // rows of x in one product
constexpr int64_t kOutputTile = 256;            // at most; outputs in one product
constexpr int64_t kFewRows = 8;                 // up to here a product is a few matrix-vector products
constexpr int64_t kExpandedElements = 8 << 20;  // weights held as float32 at once: 32 MiB

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Tiles of equal width, a multiple of 32, none wider than kOutputTile.
int64_t OutputTileWidth(int64_t outputs) {
  return CeilDivide(CeilDivide(outputs, CeilDivide(outputs, kOutputTile)), 32) * 32;
}

}  // namespace

CpuBackend::CpuBackend(int threads, std::string_view isa)
    : pool_(threads), kernels_(SelectVectorKernels(isa)) {
  scratch_.resize(static_cast<size_t>(threads));
}

std::string CpuBackend::Describe() const {
  return Concat("cpu, ", kernels_.isa, " kernels, OpenBLAS ", blas::CoreName(), ", ", pool_.threads(),
                " threads");
}

void CpuBackend::Embed(const Weight& table, std::span<const int32_t> ids, MatrixView out) {
  CHECK(out.rows == static_cast<int64_t>(ids.size()) && out.columns == table.columns());
  for (int64_t t = 0; t < out.rows; ++t)
    table.ReadRows(ids[static_cast<size_t>(t)], 1, out.data + t * out.columns);
}

void CpuBackend::ForRows(int64_t rows, const std::function<void(int64_t)>& row) {
  constexpr int64_t kBlock = 16;
  pool_.ParallelFor(CeilDivide(rows, kBlock), [&](int64_t block) {
    const int64_t end = std::min(rows, (block + 1) * kBlock);
    for (int64_t r = block * kBlock; r < end; ++r) row(r);
  });
}

void CpuBackend::Norm(NormKind kind, double epsilon, MatrixView x, std::span<const float> weight,
                      std::span<const float> bias, MatrixView y) {
  CHECK(x.rows == y.rows && x.columns == y.columns);
  CHECK(weight.empty() || static_cast<int64_t>(weight.size()) == x.columns);
  CHECK(bias.empty() || static_cast<int64_t>(bias.size()) == x.columns);
  const float* w = weight.empty() ? nullptr : weight.data();
  const float* b = bias.empty() ? nullptr : bias.data();
  const auto eps = static_cast<float>(epsilon);
  ForRows(x.rows, [&](int64_t r) {
    const float* in = x.data + r * x.columns;
    float* out = y.data + r * x.columns;
    if (kind == NormKind::kRms) {
      kernels_.rms_norm(in, w, eps, out, x.columns);
    } else {
      kernels_.layer_norm(in, w, b, eps, out, x.columns);
    }
  });
}

void CpuBackend::Linear(MatrixView x, const Weight& weight, std::span<const float> bias, MatrixView y) {
  CHECK(x.columns == weight.columns() && y.columns == weight.rows() && x.rows == y.rows);
  CHECK(bias.empty() || static_cast<int64_t>(bias.size()) == y.columns);
  if (x.rows <= kFewRows) {
    LinearFewRows(x, weight, bias, y);
    return;
  }
  const float* whole = weight.FloatData();
  if (whole != nullptr) {
    MultiplyTiles(x, whole, 0, weight.rows(), bias, y);
    return;
  }
  const int64_t chunk =
      std::max<int64_t>(kOutputTile, kExpandedElements / weight.columns() / kOutputTile * kOutputTile);
  for (int64_t first = 0; first < weight.rows(); first += chunk) {
    const int64_t count = std::min(chunk, weight.rows() - first);
    if (expanded_.rows() * expanded_.columns() < count * weight.columns())
      expanded_ = Matrix(1, count * weight.columns());
    constexpr int64_t kPiece = 32;
    pool_.ParallelFor(CeilDivide(count, kPiece), [&](int64_t piece) {
      const int64_t row = piece * kPiece;
      weight.ReadRows(first + row, std::min(kPiece, count - row), expanded_.data() + row * weight.columns());
    });
    MultiplyTiles(x, expanded_.data(), first, count, bias, y);
  }
}

// y[:, first .. first + count) = x Wᵀ + bias, w [count, inputs] in float32.
void CpuBackend::MultiplyTiles(MatrixView x, const float* w, int64_t first, int64_t count,
                               std::span<const float> bias, MatrixView y) {
  const int64_t width = OutputTileWidth(count);
  const int64_t row_tiles = CeilDivide(x.rows, kRowTile), output_tiles = CeilDivide(count, width);
  pool_.ParallelFor(row_tiles * output_tiles, [&](int64_t tile) {
    const int64_t row = tile / output_tiles * kRowTile, output = tile % output_tiles * width;
    const int64_t rows = std::min(kRowTile, x.rows - row), outputs = std::min(width, count - output);
    float* out = y.data + row * y.columns + first + output;
    blas::Gemm(false, true, rows, outputs, x.columns, 1.0f, x.data + row * x.columns, x.columns,
               w + output * x.columns, x.columns, 0.0f, out, y.columns);
    if (bias.empty()) return;
    for (int64_t r = 0; r < rows; ++r)
      kernels_.add(out + r * y.columns, bias.data() + first + output, outputs);
  });
}

void CpuBackend::LinearFewRows(MatrixView x, const Weight& weight, std::span<const float> bias,
                               MatrixView y) {
  constexpr int64_t kPiece = 16;
  const float* whole = weight.FloatData();
  pool_.ParallelFor(CeilDivide(weight.rows(), kPiece), [&](int64_t piece, int thread) {
    const int64_t first = piece * kPiece, count = std::min(kPiece, weight.rows() - first);
    const float* rows = whole == nullptr ? nullptr : whole + first * x.columns;
    if (rows == nullptr) {
      std::vector<float>& buffer = scratch_[static_cast<size_t>(thread)];
      if (static_cast<int64_t>(buffer.size()) < count * x.columns)
        buffer.resize(static_cast<size_t>(count * x.columns));
      weight.ReadRows(first, count, buffer.data());
      rows = buffer.data();
    }
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t t = 0; t < x.rows; ++t) {
        const float value = kernels_.dot(rows + r * x.columns, x.data + t * x.columns, x.columns);
        y.data[t * y.columns + first + r] =
            bias.empty() ? value : value + bias[static_cast<size_t>(first + r)];
      }
    }
  });
}

void CpuBackend::Rotate(const RotaryTable& table, int64_t first_position, int64_t sequence_tokens,
                        int64_t head_dim, MatrixView x) {
  CHECK(head_dim >= 2 * table.pairs && x.columns % head_dim == 0 && table.sine.size() == table.cosine.size());
  const int64_t end = first_position + std::min(x.rows, sequence_tokens);
  CHECK(first_position >= 0 && end * table.pairs <= static_cast<int64_t>(table.cosine.size()));
  ForRows(x.rows, [&](int64_t r) {
    const int64_t position = first_position + r % sequence_tokens;
    const float* cosine = table.cosine.data() + position * table.pairs;
    const float* sine = table.sine.data() + position * table.pairs;
    float* row = x.data + r * x.columns;
    for (int64_t head = 0; head < x.columns; head += head_dim)
      kernels_.rotate(row + head, cosine, sine, table.pairs);
  });
}

void CpuBackend::Attend(const AttentionShape& shape, MatrixView query, const float* keys, const float* values,
                        MatrixView out) {
  AttendCausal(shape, kernels_, pool_, scratch_, query, keys, values, out);
}

void CpuBackend::ReceivedAttention(const AttentionShape& shape, MatrixView query, const float* keys,
                                   std::span<float> received) {
  SumReceivedAttention(shape, kernels_, pool_, query, keys, received);
}

void CpuBackend::Activate(ActivationKind kind, MatrixView x, const MatrixView* factor) {
  CHECK(factor == nullptr || (factor->rows == x.rows && factor->columns == x.columns));
  ForRows(x.rows, [&](int64_t r) {
    kernels_.activate(kind, x.data + r * x.columns, x.columns);
    if (factor != nullptr) kernels_.multiply(x.data + r * x.columns, factor->data + r * x.columns, x.columns);
  });
}

void CpuBackend::Add(MatrixView x, MatrixView y) {
  CHECK(x.rows == y.rows && x.columns == y.columns);
  ForRows(x.rows,
          [&](int64_t r) { kernels_.add(x.data + r * x.columns, y.data + r * x.columns, x.columns); });
}

void CpuBackend::NegativeLogLikelihood(MatrixView logits, std::span<const int32_t> targets,
                                       std::span<double> out) {
  CHECK(static_cast<int64_t>(targets.size()) == logits.rows && out.size() == targets.size());
  for (const int32_t target : targets) CHECK(target >= 0 && target < logits.columns);
  ForRows(logits.rows, [&](int64_t r) {
    const float* row = logits.data + r * logits.columns;
    const float maximum = kernels_.maximum(row, logits.columns);
    const double log_sum = std::log(kernels_.exp_sum_of(row, maximum, logits.columns)) + maximum;
    out[static_cast<size_t>(r)] = log_sum - row[targets[static_cast<size_t>(r)]];
  });
}

void CpuBackend::CompareLogits(MatrixView reference, MatrixView logits, std::span<LogitDifference> out) {
  CHECK(reference.rows == logits.rows && reference.columns == logits.columns);
  CHECK(static_cast<int64_t>(out.size()) == logits.rows);
  const int64_t n = logits.columns;
  ForRows(logits.rows, [&](int64_t r) {
    const float *a = reference.data + r * n, *b = logits.data + r * n;
    const float max_a = kernels_.maximum(a, n), max_b = kernels_.maximum(b, n);
    const double sum_a = kernels_.exp_sum_of(a, max_a, n), sum_b = kernels_.exp_sum_of(b, max_b, n);
    const double log_ratio = (std::log(sum_b) + max_b) - (std::log(sum_a) + max_a);
    const SoftmaxRow p{a, max_a, static_cast<float>(1 / sum_a)}, q{b, max_b, static_cast<float>(1 / sum_b)};
    out[static_cast<size_t>(r)] = {kernels_.divergence(p, q, static_cast<float>(log_ratio), n),
                                   std::find(a, a + n, max_a) - a == std::find(b, b + n, max_b) - b};
  });
}

std::unique_ptr<Backend> MakeCpuBackend(int threads, const std::string& isa) {
  return std::make_unique<CpuBackend>(threads, !isa.empty() ? isa : DefaultVectorKernels().isa);
}

}  // namespace gptq
