// What the tests of compute share: random data, memory that ends at an unreadable page, and the obviously
// right float64 twins of dense products and attention.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "compute/backend.h"
#include "tests/test_util.h"

namespace gptq::plain {

inline std::vector<float> Random(int64_t count, uint32_t seed, float deviation = 1.0f, float mean = 0.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

inline MatrixView View(std::vector<float>& values, int64_t rows, int64_t columns) {
  CHECK(static_cast<int64_t>(values.size()) == rows * columns);
  return {values.data(), rows, columns};
}

// `count` floats that end where an unreadable page begins and start after a known pattern: a kernel that
// reads or writes past the end crashes, one that writes before the start is found by Intact(). The start is
// aligned to four bytes only.
class GuardedFloats {
 public:
  explicit GuardedFloats(int64_t count) : count_(count) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t needed = static_cast<size_t>(count) * sizeof(float) + kPatternBytes;
    readable_ = (needed + page - 1) / page * page;
    mapped_ = readable_ + page;
    void* memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    base_ = static_cast<std::byte*>(memory);
    CHECK(mprotect(base_ + readable_, page, PROT_NONE) == 0);
    std::memset(base_, 0x5a, readable_);
  }
  explicit GuardedFloats(const std::vector<float>& values)
      : GuardedFloats(static_cast<int64_t>(values.size())) {
    std::copy(values.begin(), values.end(), data());
  }
  ~GuardedFloats() { munmap(base_, mapped_); }
  GuardedFloats(const GuardedFloats&) = delete;
  GuardedFloats& operator=(const GuardedFloats&) = delete;

  float* data() { return reinterpret_cast<float*>(base_ + readable_) - count_; }
  float operator[](int64_t i) { return data()[i]; }
  bool Intact() {
    std::byte* end = reinterpret_cast<std::byte*>(data());
    return std::all_of(base_, end, [](std::byte b) { return b == std::byte{0x5a}; });
  }

 private:
  static constexpr size_t kPatternBytes = 64;
  int64_t count_;
  size_t readable_ = 0, mapped_ = 0;
  std::byte* base_ = nullptr;
};

// y = x Wᵀ + bias in float64, and the sum of the magnitudes of what was added, by which rounding errors
// scale.
struct Product {
  std::vector<double> value, magnitude;  // [rows, outputs]
};

inline Product Linear(const std::vector<float>& x, const std::vector<float>& w,
                      const std::vector<float>& bias, int64_t rows, int64_t outputs, int64_t inputs) {
  Product product{std::vector<double>(static_cast<size_t>(rows * outputs)), {}};
  product.magnitude = product.value;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < outputs; ++o) {
      double value = bias.empty() ? 0 : bias[static_cast<size_t>(o)], magnitude = std::abs(value);
      for (int64_t i = 0; i < inputs; ++i) {
        const double term =
            double{x[static_cast<size_t>(r * inputs + i)]} * double{w[static_cast<size_t>(o * inputs + i)]};
        value += term;
        magnitude += std::abs(term);
      }
      product.value[static_cast<size_t>(r * outputs + o)] = value;
      product.magnitude[static_cast<size_t>(r * outputs + o)] = magnitude;
    }
  }
  return product;
}

// The worst |y - twin| / magnitude.
inline double WorstError(const std::vector<float>& y, const Product& twin) {
  double worst = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double error = std::abs(y[i] - twin.value[i]) / std::max(twin.magnitude[i], 1e-30);
    if (!(error <= worst)) worst = std::isnan(error) ? 1e30 : error;
  }
  return worst;
}

// softmax(query keysᵀ * scale) values over the keys that each query sees, as the definition says it.
inline std::vector<double> Attention(const AttentionShape& shape, const std::vector<float>& query,
                                     const std::vector<float>& keys, const std::vector<float>& values) {
  const int64_t past = shape.key_tokens - shape.query_tokens, d = shape.head_dim, v = shape.value_width();
  std::vector<double> out(query.size() / static_cast<size_t>(d) * static_cast<size_t>(v));
  for (int64_t s = 0; s < shape.sequences; ++s) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      const int64_t kv_head = h / (shape.heads / shape.kv_heads);
      const auto place = [&](int64_t t) { return (s * shape.key_stride + t) * shape.kv_heads + kv_head; };
      for (int64_t t = 0; t < shape.query_tokens; ++t) {
        const int64_t row = (s * shape.query_tokens + t) * shape.heads + h, position = past + t;
        const int64_t first = shape.window > 0 ? std::max<int64_t>(0, position - shape.window + 1) : 0;
        const int64_t end = shape.causal ? position + 1 : shape.key_tokens;
        std::vector<double> weight;
        for (int64_t k = first; k < end; ++k) {
          double score = 0;
          for (int64_t i = 0; i < d; ++i)
            score += double{query[row * d + i]} * double{keys[place(k) * d + i]};
          score *= double{shape.scale};
          if (shape.softcap != 0) score = double{shape.softcap} * std::tanh(score / double{shape.softcap});
          if (shape.key_bias != nullptr) score += double{shape.key_bias[h * shape.key_bias_stride + k]};
          weight.push_back(score);
        }
        const double highest = *std::max_element(weight.begin(), weight.end());
        double sum = 0;
        for (double& w : weight) sum += w = std::exp(w - highest);
        for (int64_t k = first; k < end; ++k) {
          for (int64_t i = 0; i < v; ++i)
            out[row * v + i] += weight[k - first] / sum * double{values[place(k) * v + i]};
        }
      }
    }
  }
  return out;
}

}  // namespace gptq::plain
