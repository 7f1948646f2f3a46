#include "compute/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/integer.h"
#include "compute/blas.h"
#include "compute/cpu/attention.h"
#include "compute/cpu/linear.h"
#include "compute/cpu/received_attention.h"

namespace gptq {
CpuBackend::CpuBackend(int threads, std::string_view isa)
    : pool_(threads),
      kernels_(SelectVectorKernels(isa)),
      packed_kernels_(SelectPackedKernels(isa)),
      scratch_(threads) {}

std::string CpuBackend::Describe() const {
  return Concat("cpu, ", packed_kernels_.isa, " kernels, OpenBLAS ", blas::CoreName(), ", ", pool_.threads(),
                " threads");
}

void CpuBackend::SetActivationBits(int bits) {
  CHECK(bits == 8 || bits == 16 || bits == 32);
  activation_bits_ = bits;
}

bool CpuBackend::GoesByIntegers(int64_t rows) const {
  return activation_bits_ == 8 || (activation_bits_ == 16 && rows <= packed_kernels_.most_rows);
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
  CHECK(static_cast<int64_t>(weight.size()) % x.columns == 0);
  CHECK(static_cast<int64_t>(bias.size()) % x.columns == 0);
  const auto row_of = [&](std::span<const float> values, int64_t r) {
    return values.empty() ? nullptr : values.data() + r * x.columns % static_cast<int64_t>(values.size());
  };
  const auto eps = static_cast<float>(epsilon);
  ForRows(x.rows, [&](int64_t r) {
    const float *w = row_of(weight, r), *b = row_of(bias, r);
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
  const LinearProduct product{&weight, bias, y};
  Linears(x, std::span(&product, 1));
}

void CpuBackend::Linears(MatrixView x, std::span<const LinearProduct> products) {
  bool together = GoesByIntegers(x.rows);
  for (const auto& [weight, bias, y] : products) {
    CHECK(x.columns == weight->columns() && y.columns == weight->rows() && x.rows == y.rows);
    CHECK(bias.empty() || static_cast<int64_t>(bias.size()) == y.columns);
    const TiledWeight *tiled = weight->tiled(), *first = products[0].weight->tiled();
    together = together && tiled != nullptr && first != nullptr && tiled->TakesInputsOf(*first);
  }
  if (together) {
    MultiplyTiled(packed_kernels_, pool_, scratch_, packed_inputs_, activation_bits_ / 8, x, products);
    return;
  }
  if (products.size() > 1) return Backend::Linears(x, products);
  for (const auto& [weight, bias, y] : products)
    MultiplyLinear({kernels_, pool_, scratch_, panels_}, x, *weight, bias, y);
}

void CpuBackend::Rotate(const RotaryTable& table, int64_t first_position, int64_t sequence_tokens,
                        int64_t head_dim, int64_t first_dimension, MatrixView x) {
  CHECK(first_dimension >= 0 && head_dim >= first_dimension + 2 * table.pairs);
  CHECK(x.columns % head_dim == 0 && table.sine.size() == table.cosine.size());
  const int64_t end = first_position + std::min(x.rows, sequence_tokens);
  CHECK(first_position >= 0 && end * table.pairs <= static_cast<int64_t>(table.cosine.size()));
  ForRows(x.rows, [&](int64_t r) {
    const int64_t position = first_position + r % sequence_tokens;
    const float* cosine = table.cosine.data() + position * table.pairs;
    const float* sine = table.sine.data() + position * table.pairs;
    float* row = x.data + r * x.columns + first_dimension;
    const auto rotate = table.interleaved ? kernels_.rotate_interleaved : kernels_.rotate;
    for (int64_t head = 0; head < x.columns; head += head_dim) rotate(row + head, cosine, sine, table.pairs);
  });
}

void CpuBackend::Attend(const AttentionShape& shape, MatrixView query, const KvRows& keys,
                        const KvRows& values, MatrixView out) {
  gptq::Attend(shape, kernels_, pool_, scratch_, query, keys, values, out);
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

void CpuBackend::Scale(MatrixView x, float factor) {
  ForRows(x.rows, [&](int64_t r) { kernels_.scale(x.data + r * x.columns, factor, x.columns); });
}

void CpuBackend::Clamp(MatrixView x, float limit) {
  ForRows(x.rows, [&](int64_t r) {
    for (float& value : std::span(x.data + r * x.columns, static_cast<size_t>(x.columns)))
      value = std::clamp(value, -limit, limit);
  });
}

void CpuBackend::Softcap(MatrixView x, float cap) {
  ForRows(x.rows, [&](int64_t r) { kernels_.softcap(x.data + r * x.columns, cap, x.columns); });
}

void CpuBackend::CopyColumns(MatrixView from, ColumnPieces source, MatrixView to, ColumnPieces destination,
                             int64_t pieces, int64_t width) {
  const auto inside = [&](const MatrixView& matrix, const ColumnPieces& columns) {
    return columns.first >= 0 && columns.stride >= 0 &&
           columns.first + (pieces - 1) * columns.stride + width <= matrix.columns;
  };
  CHECK(from.rows == to.rows && pieces > 0 && inside(from, source) && inside(to, destination));
  ForRows(from.rows, [&](int64_t r) {
    const float* in = from.data + r * from.columns + source.first;
    float* out = to.data + r * to.columns + destination.first;
    for (int64_t i = 0; i < pieces; ++i)
      std::copy_n(in + i * source.stride, width, out + i * destination.stride);
  });
}

void CpuBackend::GatherRows(MatrixView from, std::span<const int32_t> rows, MatrixView to) {
  CHECK(to.rows == static_cast<int64_t>(rows.size()) && to.columns == from.columns);
  for (const int32_t row : rows) CHECK(row >= 0 && row < from.rows);
  ForRows(to.rows, [&](int64_t r) {
    std::copy_n(from.data + rows[static_cast<size_t>(r)] * from.columns, from.columns,
                to.data + r * to.columns);
  });
}

void CpuBackend::AddToRows(MatrixView x, std::span<const int32_t> rows, std::span<const float> factors,
                           MatrixView y) {
  CHECK(y.rows == static_cast<int64_t>(rows.size()) && y.columns == x.columns &&
        factors.size() == rows.size());
  for (const int32_t row : rows) CHECK(row >= 0 && row < x.rows);
  ForRows(y.rows, [&](int64_t r) {
    kernels_.add_scaled(x.data + rows[static_cast<size_t>(r)] * x.columns, factors[static_cast<size_t>(r)],
                        y.data + r * y.columns, y.columns);
  });
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
  return std::make_unique<CpuBackend>(threads, !isa.empty() ? isa : RequestedIsa());
}

}  // namespace gptq
