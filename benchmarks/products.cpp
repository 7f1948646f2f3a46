// Products of one row of inputs with large weights in every form, beside the read bandwidth measured in
// between: what decoding can reach. usage: products [THREADS] [ROUNDS]      (build it with `cmake --build
// build --target products`)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "base/half.h"
#include "compute/backend.h"
#include "compute/peak.h"

namespace gptq {
namespace {

constexpr int64_t kOutputs = 32000, kInputs = 4096;  // more than any cache

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

uint32_t Noise() {
  static uint64_t state = 1;
  return static_cast<uint32_t>((state = state * 6364136223846793005u + 1442695040888963407u) >> 33);
}

Weight RandomPacked(int bits, int64_t group_size, bool symmetric, ThreadPool& pool) {
  PackedWeight packed;
  packed.rows = kOutputs, packed.columns = kInputs, packed.bits = bits;
  packed.group_size = group_size, packed.groups = kInputs / group_size;
  packed.codes.resize(kOutputs * kInputs);
  for (uint8_t& code : packed.codes) code = static_cast<uint8_t>(Noise() & ((1u << bits) - 1));
  packed.scales.assign(static_cast<size_t>(kOutputs * packed.groups), 0x1p-8f);
  packed.zeros.assign(packed.scales.size(), static_cast<int16_t>(1 << (bits - 1)));
  if (!symmetric) {
    for (int16_t& zero : packed.zeros) zero = static_cast<int16_t>(Noise() & ((1u << bits) - 1));
  }
  for (int64_t c = 0; c < kInputs; ++c) packed.group_index.push_back(static_cast<int32_t>(c / group_size));
  return Weight(packed, &pool);
}

// One byte everywhere: a small scale, and codes and sub-scales of some kind.
Weight Blocks(DType dtype, ThreadPool& pool) {
  Tensor tensor = Tensor::Uninitialized(dtype, {kOutputs, kInputs});
  std::memset(tensor.data(), 0x21, static_cast<size_t>(tensor.bytes()));
  Weight weight(std::move(tensor));
  weight.Tile(pool);
  return weight;
}

Weight RandomHalves(DType dtype) {
  Tensor tensor = Tensor::Uninitialized(dtype, {kOutputs, kInputs});
  for (uint16_t& value : tensor.As<uint16_t>()) value = static_cast<uint16_t>(0x2000 | (Noise() & 0x83ff));
  return Weight(std::move(tensor));
}

struct Timed {
  char name[40];
  Weight weight;
  double seconds = 1e9;
};

void Run(int threads, int rounds) {
  const std::unique_ptr<Backend> backend = MakeCpuBackend(threads);
  backend->SetActivationBits(16);
  std::vector<Timed> all;
  const auto add = [&](Weight weight, const char* format, auto... values) {
    all.push_back({{}, std::move(weight)});
    std::snprintf(all.back().name, sizeof(all.back().name), format, values...);
  };
  add(RandomHalves(DType::kF16), "float16");
  add(RandomHalves(DType::kBF16), "bfloat16");
  for (const int64_t group_size : {128, 32}) {
    for (const int bits : {8, 4, 3, 2}) {
      add(RandomPacked(bits, group_size, true, backend->pool()), "%d bits, groups of %d", bits,
          static_cast<int>(group_size));
    }
  }
  add(RandomPacked(4, 128, false, backend->pool()), "4 bits, groups of 128, zeros");
  for (const DType dtype :
       {DType::kQ4_1, DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K})
    add(Blocks(dtype, backend->pool()), "%s", std::string(Name(dtype)).c_str());
  Matrix x(1, kInputs), y(1, kOutputs);
  for (int64_t i = 0; i < kInputs; ++i) x.data()[i] = static_cast<float>(i % 17) - 8.0f;
  BandwidthTest test(backend->pool());
  double bandwidth = 0;
  for (int round = 0; round < rounds; ++round) {
    bandwidth = std::max(bandwidth, test.Best(5));
    for (Timed& timed : all)
      timed.seconds =
          std::min(timed.seconds, Seconds([&] { backend->Linear(x.view(), timed.weight, {}, y.view()); }));
  }
  std::printf("%s\nread bandwidth %.1f GB/s\n", backend->Describe().c_str(), bandwidth * 1e-9);
  for (const Timed& timed : all) {
    const double rate = static_cast<double>(timed.weight.bytes()) / timed.seconds;
    std::printf("%-28s %6.1f GB/s %4.0f %% %8.2f G weights/s\n", timed.name, rate * 1e-9,
                100 * rate / bandwidth, kOutputs * kInputs / timed.seconds * 1e-9);
  }
}

}  // namespace
}  // namespace gptq

int main(int argc, char** argv) {
  gptq::Run(argc > 1 ? std::atoi(argv[1]) : 1, argc > 2 ? std::atoi(argv[2]) : 5);
  return 0;
}
