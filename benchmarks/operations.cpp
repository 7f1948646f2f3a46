// Times each operation of a calibration run at the shapes of a model, beside the matrix-product rate measured
// in between, by the processor time of one thread: other work on the machine then disturbs little. usage:
// operations [ROUNDS]      (build it with `ninja -C build operations`)
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

#include "compute/backend.h"
#include "compute/blas.h"
#include "quant/hessian.h"

namespace gptq {
namespace {

constexpr int64_t kTokens = 2048;

struct ModelShape {
  const char* name;
  int64_t hidden, intermediate, heads, kv_heads, head_dim;
};

constexpr ModelShape kShapes[] = {{"135M parameters (hidden 576)", 576, 1536, 9, 3, 64},
                                  {"1B parameters (hidden 2048)", 2048, 8192, 32, 8, 64}};

double ProcessorSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Seconds(const std::function<void()>& work) {
  const double start = ProcessorSeconds();
  work();
  return ProcessorSeconds() - start;
}

Matrix Random(int64_t rows, int64_t columns) {
  Matrix matrix(rows, columns);
  std::minstd_rand generator(static_cast<unsigned>(rows * 31 + columns));
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  for (int64_t i = 0; i < rows * columns; ++i) matrix.data()[i] = uniform(generator);
  return matrix;
}

Weight RandomPacked(int64_t rows, int64_t columns) {
  PackedWeight packed;
  packed.rows = rows, packed.columns = columns, packed.group_size = 64, packed.groups = (columns + 63) / 64;
  for (int64_t i = 0; i < rows * columns; ++i) packed.codes.push_back(static_cast<uint8_t>(i * 7 % 16));
  packed.scales.assign(static_cast<size_t>(rows * packed.groups), 0.01f);
  packed.zeros.assign(static_cast<size_t>(rows * packed.groups), 8);
  for (int64_t c = 0; c < columns; ++c) packed.group_index.push_back(static_cast<int32_t>(c / 64));
  return Weight(std::move(packed));
}

// One operation: how often a block does it for a sample, its floating-point operations (0: what they cost
// counts as loss), and its best time.
struct Operation {
  const char* name;
  double times, flops;
  std::function<void()> work;
  double best = 1e30;
};

class Bench {
 public:
  void Add(const char* name, double times, double flops, std::function<void()> work) {
    operations_.push_back({name, times, flops, std::move(work)});
  }
  void Run(int rounds) {
    constexpr int64_t kSize = 1024;
    Matrix a = Random(kSize, kSize), b = Random(kSize, kSize), c(kSize, kSize);
    double product = 1e30;
    for (int round = 0; round < rounds; ++round) {
      for (Operation& operation : operations_) {
        operation.best = std::min(operation.best, Seconds(operation.work));
        product = std::min(product, Seconds([&] {
                             blas::Gemm(false, true, kSize, kSize, kSize, 1.0f, a.data(), kSize, b.data(),
                                        kSize, 0.0f, c.data(), kSize);
                           }));
      }
    }
    Print(2.0 * kSize * kSize * kSize / product);
  }

 private:
  void Print(double rate) const {
    std::printf("  matrix product %.1f GFLOP/s\n  %-16s %9s %9s %9s\n", rate / 1e9, "", "ms/block", "at rate",
                "share");
    for (const Operation& operation : operations_) {
      const double ideal = operation.flops / rate;
      std::printf("  %-16s %9.2f %9.2f %8.0f%%\n", operation.name, 1e3 * operation.times * operation.best,
                  1e3 * operation.times * ideal, 100 * ideal / operation.best);
    }
  }

  std::vector<Operation> operations_;
};

void AddForward(const ModelShape& shape, Backend& backend, Bench& bench) {
  const auto tokens = static_cast<double>(kTokens);
  const int64_t query_width = shape.heads * shape.head_dim, kv_width = shape.kv_heads * shape.head_dim;
  const auto linear = [&](const char* name, double times, int64_t inputs, int64_t outputs) {
    auto x = std::make_shared<Matrix>(Random(kTokens, inputs));
    auto y = std::make_shared<Matrix>(Random(kTokens, outputs));
    auto weight = std::make_shared<Weight>(RandomPacked(outputs, inputs));
    bench.Add(name, times, 2 * tokens * static_cast<double>(inputs * outputs),
              [&backend, x, y, weight] { backend.Linear(x->view(), *weight, {}, y->view()); });
  };
  linear("query", 1, shape.hidden, query_width);
  linear("key, value", 2, shape.hidden, kv_width);
  linear("attention output", 1, query_width, shape.hidden);
  linear("gate, up", 2, shape.hidden, shape.intermediate);
  linear("down", 1, shape.intermediate, shape.hidden);

  auto query = std::make_shared<Matrix>(Random(kTokens, query_width));
  auto keys = std::make_shared<Matrix>(Random(kTokens, kv_width));
  auto values = std::make_shared<Matrix>(Random(kTokens, kv_width));
  auto out = std::make_shared<Matrix>(Random(kTokens, query_width));
  const AttentionShape attention{1,           kTokens,        kTokens,        kTokens,
                                 shape.heads, shape.kv_heads, shape.head_dim, 0.125f};
  bench.Add("attention", 1, 2 * tokens * (tokens + 1) * static_cast<double>(query_width), [=, &backend] {
    backend.Attend(attention, query->view(), keys->data(), values->data(), out->view());
  });

  auto hidden = std::make_shared<Matrix>(Random(kTokens, shape.hidden));
  auto normed = std::make_shared<Matrix>(Random(kTokens, shape.hidden));
  auto weight = std::make_shared<std::vector<float>>(static_cast<size_t>(shape.hidden), 1.0f);
  bench.Add("norm", 2, 0, [=, &backend] {
    backend.Norm(NormKind::kRms, 1e-5, hidden->view(), *weight, {}, normed->view());
  });
  bench.Add("add", 2, 0, [=, &backend] { backend.Add(hidden->view(), normed->view()); });
  RotaryTable table;
  table.pairs = shape.head_dim / 2;
  table.cosine.assign(static_cast<size_t>(kTokens * table.pairs), 1.0f);
  table.sine.assign(static_cast<size_t>(kTokens * table.pairs), 0.0f);
  bench.Add("rotate", 1, 0, [=, &backend] {
    backend.Rotate(table, 0, kTokens, attention.head_dim, query->view());
    backend.Rotate(table, 0, kTokens, attention.head_dim, keys->view());
  });
  auto gate = std::make_shared<Matrix>(Random(kTokens, shape.intermediate));
  auto up = std::make_shared<Matrix>(Random(kTokens, shape.intermediate));
  bench.Add("activate", 1, 0, [=, &backend] {
    const MatrixView factor = up->view();
    backend.Activate(ActivationKind::kSilu, gate->view(), &factor);
  });
}

void AddHessians(const ModelShape& shape, Backend& backend, Bench& bench) {
  const auto hessian = [&](const char* name, double times, int64_t columns) {
    auto x = std::make_shared<Matrix>(Random(kTokens, columns));
    auto sum = std::make_shared<HessianAccumulator>(columns);
    bench.Add(name, times, static_cast<double>(kTokens * columns * (columns + 1)),
              [=, &backend] { sum->Add(x->data(), kTokens, columns, backend.pool()); });
  };
  hessian("Hessian", 3, shape.hidden);
  hessian("Hessian of down", 1, shape.intermediate);
}

}  // namespace
}  // namespace gptq

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  const auto backend = gptq::MakeCpuBackend(1);
  std::printf("%s\n", backend->Describe().c_str());
  for (const gptq::ModelShape& shape : gptq::kShapes) {
    std::printf("%s, a sample of %d tokens\n", shape.name, static_cast<int>(gptq::kTokens));
    gptq::Bench bench;
    gptq::AddForward(shape, *backend, bench);
    gptq::AddHessians(shape, *backend, bench);
    bench.Run(rounds);
  }
}
