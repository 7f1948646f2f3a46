// The CUDA backend beside what the GPU can do, measured in the same run. See docs/benchmarks.md.
//   cuda products                          12288 x 49152 times a vector at 2, 3, 4, 8 and 16 bits
//   cuda decode SHAPE BITS GROUP TOKENS    random weights; SHAPE: llama-7b, opt-175b or a config.json; BITS
//   16: float16
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <tuple>

#include "base/half.h"
#include "compute/cuda/cuda_backend.h"
#include "compute/cuda/products.h"
#include "model/architecture.h"
#include "model/decoder.h"
#include "workflow/benchmark.h"

namespace gptq {
namespace {

using cuda::CudaBackend;
using cuda::Device;
using cuda::DeviceWeight;

// Bytes read and written in a second by a copy of 1 GiB, the best of several.
double CopyBandwidth(Device& device) {
  constexpr int64_t kBytes = int64_t{1} << 30;
  const cuda::Memory from = device.Allocate(kBytes), to = device.Allocate(kBytes);
  device.Zero(from.get(), kBytes);
  double best = 1e30;
  for (int i = 0; i < 8; ++i) {
    device.StartTimer();
    for (int j = 0; j < 4; ++j) device.OnDevice(to.get(), from.get(), kBytes);
    best = std::min(best, device.StopTimer() / 4);
  }
  return 2.0 * kBytes / best;
}

uint32_t Noise() {
  static uint64_t state = 1;
  return static_cast<uint32_t>((state = state * 6364136223846793005u + 1442695040888963407u) >> 33);
}

Weight RandomWeight(int64_t rows, int64_t columns, int bits, int64_t group_size, ThreadPool& pool) {
  if (bits == 16) {
    Tensor tensor = Tensor::Uninitialized(DType::kF16, {rows, columns});
    for (uint16_t& value : tensor.As<uint16_t>()) value = static_cast<uint16_t>(0x2000 | (Noise() & 0x83ff));
    return Weight(std::move(tensor));
  }
  PackedWeight packed;
  packed.rows = rows, packed.columns = columns, packed.bits = bits;
  packed.group_size = group_size > 0 ? group_size : columns;
  packed.groups = (columns + packed.group_size - 1) / packed.group_size;
  packed.symmetric = false;
  packed.codes.resize(static_cast<size_t>(rows * columns));
  for (uint8_t& code : packed.codes) code = static_cast<uint8_t>(Noise() & ((1u << bits) - 1));
  for (int64_t i = 0; i < rows * packed.groups; ++i) {
    packed.scales.push_back(
        HalfToFloat(FloatToHalf(3.0f / std::sqrt(static_cast<float>(columns)) / (1 << bits))));
    packed.zeros.push_back(static_cast<int16_t>(Noise() % (1u << bits)));
  }
  for (int64_t c = 0; c < columns; ++c)
    packed.group_index.push_back(static_cast<int32_t>(c / packed.group_size));
  return Weight(packed, &pool);
}

void Products() {
  constexpr int64_t kRows = 49152, kColumns = 12288;
  CudaBackend backend(static_cast<int>(AvailableCores()), 0);
  Device& device = *backend.device();
  const double bandwidth = CopyBandwidth(device);
  std::printf("%s; a copy moves %.0f GB/s\n", device.name().c_str(), bandwidth * 1e-9);
  std::vector<float> x(kColumns);
  for (float& value : x) value = static_cast<float>(Noise() % 2001) * 1e-3f - 1;
  const cuda::Memory input = device.Allocate(kColumns * 4), output = device.Allocate(kRows * 4);
  device.ToDevice(input.get(), x.data(), kColumns * 4);
  const auto* const in = reinterpret_cast<const float*>(input.get());
  auto* const out = reinterpret_cast<float*>(output.get());
  const auto report = [&](const char* name, int64_t counted, const auto& multiply) {
    const auto bytes = static_cast<double>(counted);
    std::vector<double> seconds;
    for (int round = 0; round < 7; ++round) {
      constexpr int kTimes = 20;
      device.StartTimer();
      for (int i = 0; i < kTimes; ++i) multiply(i);
      seconds.push_back(device.StopTimer() / kTimes);
    }
    std::sort(seconds.begin(), seconds.end());
    std::printf("%-44s %7.1f MB %7.1f us (best %.1f)  %4.0f GB/s, %3.0f %% of the copy's\n", name,
                bytes * 1e-6, seconds[3] * 1e6, seconds[0] * 1e6, bytes / seconds[3] * 1e-9,
                100 * bytes / seconds[3] / bandwidth);
    std::fflush(stdout);
  };
  cuda::PackedInputs inputs;
  for (const auto& [bits, group] :
       {std::pair{4, 128}, {3, 128}, {2, 128}, {8, 128}, {4, -1}, {3, -1}, {4, 32}}) {
    const Weight weight = RandomWeight(kRows, kColumns, bits, group, backend.pool());
    const auto first = std::make_shared<DeviceWeight>(backend.device(), weight);
    // Rotating: at least 300 MB before a weight is read again.
    std::vector<std::shared_ptr<const DeviceWeight>> all{first};
    while (first->bytes() * static_cast<int64_t>(all.size()) < 600'000'000) all.push_back(first->Clone());
    char name[80];
    std::snprintf(name, sizeof(name), "%d bits, groups of %d", bits, group);
    report(name, first->bytes(), [&](int i) {
      const DeviceWeight& w = *all[static_cast<size_t>(i) % all.size()];
      inputs.Pack(device, w, in, 1);
      const cuda::Product product{&w, nullptr, out};
      cuda::MultiplyPacked(device, std::span(&product, 1), inputs, 1);
    });
  }
  const Weight weight = RandomWeight(kRows, kColumns, 16, -1, backend.pool());
  const DeviceWeight half(backend.device(), weight);
  const cuda::Product product{&half, nullptr, out};
  report("float16, own kernel", half.bytes(),
         [&](int) { cuda::MultiplyPlain(device, std::span(&product, 1), in, 1); });
  const cuda::Memory placed = device.Allocate(kColumns * 2);
  report("float16, cuBLAS", half.bytes(), [&](int) {
    cuda::PlaceInputs(device, half, in, 1, placed.get(), nullptr);
    device.HalfProduct(1, kRows, kColumns, 1, {placed.get(), kColumns}, {half.half.get(), kColumns}, false, 0,
                       {out, kRows});
  });
}

// Each matrix lies on the device alone, a copy of one random matrix of its shape; the program keeps none.
class RandomDeviceSource : public WeightSource {
 public:
  RandomDeviceSource(CudaBackend& backend, const ModelSpec& spec, int bits, int64_t group_size)
      : backend_(backend), spec_(spec), bits_(bits), group_size_(group_size) {}

  std::optional<Weight> FindMatrix(const std::string& module, int64_t rows, int64_t columns,
                                   MatrixLayout) override {
    const bool end = module == spec_.Name("embedding") ||
                     (spec_.Has("head") && module == spec_.Name("head")) ||
                     (spec_.Has("positions") && module == spec_.Name("positions"));
    const int bits = end ? 16 : bits_;
    std::shared_ptr<const DeviceWeight>& first = firsts_[{rows, columns, bits}];
    const bool is_new = !first;
    if (is_new) {
      const Weight weight = RandomWeight(rows, columns, bits, group_size_, backend_.pool());
      first = std::make_shared<const DeviceWeight>(backend_.device(), weight);
    }
    // Embeddings are read by the program.
    Weight shell = end ? RandomWeight(rows, columns, 16, -1, backend_.pool())
                       : Weight(TensorView{DType::kF16, {rows, columns}, nullptr});
    shell.resident() = is_new ? first : first->Clone();
    bytes_ += first->bytes();
    return shell;
  }
  std::optional<std::vector<float>> FindVector(const std::string&, const std::string& kind,
                                               int64_t size) override {
    if (kind != "weight") return std::nullopt;
    return std::vector<float>(static_cast<size_t>(size), 1.0f);
  }
  std::string Where() const override { return spec_.where; }
  int64_t bytes() const { return bytes_; }

 private:
  CudaBackend& backend_;
  const ModelSpec& spec_;
  int bits_;
  int64_t group_size_, bytes_ = 0;
  std::map<std::tuple<int64_t, int64_t, int>, std::shared_ptr<const DeviceWeight>> firsts_;
};

Json OptConfig(int64_t hidden, int64_t layers, int64_t heads) {
  return {{"model_type", "opt"},           {"hidden_size", hidden},           {"word_embed_proj_dim", hidden},
          {"num_hidden_layers", layers},   {"ffn_dim", 4 * hidden},           {"num_attention_heads", heads},
          {"vocab_size", 50272},           {"max_position_embeddings", 2048}, {"do_layer_norm_before", true},
          {"activation_function", "relu"}, {"tie_word_embeddings", true}};
}

Json ConfigOf(const std::string& shape) {
  if (shape == "opt-175b") return OptConfig(12288, 96, 96);
  if (shape == "opt-66b") return OptConfig(9216, 64, 72);
  return ShapeConfig(shape);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Decode(const std::string& shape, int bits, int64_t group_size, int64_t tokens) {
  CudaBackend backend(static_cast<int>(AvailableCores()), 0);
  const double bandwidth = CopyBandwidth(*backend.device());
  const Json config = ConfigOf(shape);
  const ModelSpec spec =
      BuildSpec(ArchitectureForModelType(config.at("model_type").get<std::string>(), shape), config, shape);
  RandomDeviceSource source(backend, spec, bits, group_size);
  const double start = Now();
  const Decoder decoder(spec, source, backend, tokens);
  const double loaded = Now() - start;
  KvCache cache = decoder.MakeCache(tokens);
  Matrix logits, readable;
  std::vector<double> seconds;
  for (int64_t t = 0; t < tokens; ++t) {
    const auto id = static_cast<int32_t>(t * 7919 % spec.vocabulary);
    const double before = Now();
    decoder.Logits(decoder.Run(std::span(&id, 1), cache), logits);
    backend.Readable(logits.view(), readable);
    seconds.push_back(Now() - before);
  }
  std::sort(seconds.begin() + 2, seconds.end());
  const double median = seconds[2 + (seconds.size() - 2) / 2];
  const double bytes = static_cast<double>(source.bytes());
  std::printf(
      "%s, %d bits, groups of %lld, on %s: %.3f ms a token (best %.3f), %.1f tokens/s; %.2f GB of weights,"
      " %.0f %% of the copy's %.0f GB/s; %.1f GB allocated; made in %.1f s\n",
      shape.c_str(), bits, static_cast<long long>(group_size), backend.device()->name().c_str(), median * 1e3,
      seconds[2] * 1e3, 1 / median, bytes * 1e-9, 100 * bytes / median / bandwidth, bandwidth * 1e-9,
      static_cast<double>(backend.device()->most_allocated()) * 1e-9, loaded);
  std::fflush(stdout);
}

}  // namespace
}  // namespace gptq

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  try {
    if (what == "products") {
      gptq::Products();
    } else if (what == "decode" && argc == 6) {
      gptq::Decode(argv[2], std::atoi(argv[3]), std::atoll(argv[4]), std::atoll(argv[5]));
    } else {
      std::fprintf(stderr, "usage: cuda products | cuda decode SHAPE BITS GROUP TOKENS\n");
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
