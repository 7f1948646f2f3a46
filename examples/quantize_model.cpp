// Quantizes a model to 4 bits: quantize_model MODEL OUTPUT [SAMPLES]
#include <gptq/gptq.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s MODEL OUTPUT [SAMPLES]\n", argv[0]);
    return 2;
  }
  try {
    gptq::ModelOptions options;
    options.quality.bits = 4;
    options.quality.group_size = 64;
    if (argc > 3) options.samples = std::atoll(argv[3]);
    gptq::ModelCallbacks callbacks;
    callbacks.progress = [](std::string_view stage, int64_t done, int64_t steps) {
      std::fprintf(stderr, "%.*s %lld/%lld\n", static_cast<int>(stage.size()), stage.data(),
                   static_cast<long long>(done), static_cast<long long>(steps));
    };
    const gptq::QuantizedModel model = gptq::QuantizeModel(argv[1], argv[2], options, 0, callbacks);
    std::printf("%zu linears, %.2f bits per weight\n", model.linears.size(), model.bits_per_weight);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
