// Attention of one new token to a cache of float16 and of bytes, beside the read bandwidth measured in
// between. usage: attention [THREADS] [ROUNDS]      (build it with `cmake --build build --target attention`)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "compute/peak.h"
#include "model/kv_cache.h"

namespace gptq {
namespace {

struct CacheShape {
  const char* name;
  int64_t heads, kv_heads, head_dim, keys;
};

constexpr CacheShape kShapes[] = {{"9 heads, 3 of keys, of 64", 9, 3, 64, 2048},
                                  {"9 heads, 3 of keys, of 64", 9, 3, 64, 8192},
                                  {"32 heads, 8 of keys, of 128", 32, 8, 128, 4096},
                                  {"32 heads, 32 of keys, of 128", 32, 32, 128, 2048}};
constexpr double kBytes = 256e6;  // of all layers together: more than caches hold

Matrix Random(int64_t rows, int64_t columns) {
  Matrix matrix(rows, columns);
  std::minstd_rand generator(1);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  for (int64_t i = 0; i < rows * columns; ++i) matrix.data()[i] = uniform(generator);
  return matrix;
}

class LayersTest {
 public:
  LayersTest(const CacheShape& shape, DType type, Backend& backend)
      : backend_(backend),
        query_(Random(1, shape.heads * shape.head_dim)),
        out_(1, shape.heads * shape.head_dim) {
    attention_.query_tokens = 1;
    attention_.key_tokens = attention_.key_stride = shape.keys;
    attention_.heads = shape.heads, attention_.kv_heads = shape.kv_heads,
    attention_.head_dim = shape.head_dim;
    attention_.scale = 0.1f;
    const Matrix rows = Random(shape.keys, shape.kv_heads * shape.head_dim);
    while (bytes_ < kBytes) {
      layers_.push_back({{type, shape.keys, shape.kv_heads, shape.head_dim},
                         {type, shape.keys, shape.kv_heads, shape.head_dim}});
      layers_.back().keys.Write(0, rows.view());
      layers_.back().values.Write(0, rows.view());
      bytes_ += static_cast<double>(layers_.back().keys.bytes() + layers_.back().values.bytes());
    }
  }

  void Pass() {
    const auto start = std::chrono::steady_clock::now();
    for (const KvCacheLayer& layer : layers_)
      backend_.Attend(attention_, query_.view(), layer.keys.rows(), layer.values.rows(), out_.view());
    best_ = std::min(best_, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  double bytes_per_second() const { return bytes_ / best_; }
  double keys_per_second() const {
    return static_cast<double>(attention_.key_tokens) * static_cast<double>(layers_.size()) / best_;
  }

 private:
  Backend& backend_;
  AttentionShape attention_;
  Matrix query_, out_;
  std::vector<KvCacheLayer> layers_;
  double bytes_ = 0, best_ = 1e30;
};

}  // namespace
}  // namespace gptq

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1, rounds = argc > 2 ? std::atoi(argv[2]) : 5;
  const auto backend = gptq::MakeCpuBackend(threads);
  std::printf("%s\n", backend->Describe().c_str());
  gptq::BandwidthTest bandwidth(backend->pool());
  for (const gptq::CacheShape& shape : gptq::kShapes) {
    gptq::LayersTest half(shape, gptq::DType::kF16, *backend), byte(shape, gptq::DType::kI8, *backend);
    double best = 0;
    for (int round = 0; round < rounds; ++round) {
      half.Pass();
      best = std::max(best, bandwidth.Pass());
      byte.Pass();
    }
    std::printf("%-30s %5lld keys, read %5.1f GB/s", shape.name, static_cast<long long>(shape.keys),
                best * 1e-9);
    for (const auto& [name, test] : {std::pair("float16", &half), {"bytes", &byte}})
      std::printf(" | %s %5.1f GB/s, %6.1f keys/us", name, test->bytes_per_second() * 1e-9,
                  test->keys_per_second() * 1e-6);
    std::printf(" | %.2f\n", byte.keys_per_second() / half.keys_per_second());
  }
}
