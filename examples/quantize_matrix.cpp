// Quantizes one matrix to 3 bits, with and without knowledge of its inputs.
#include <gptq/gptq.h>

#include <cstdio>
#include <exception>
#include <random>
#include <vector>

namespace {

constexpr int64_t kRows = 64, kColumns = 256, kTokens = 1024;

// Inputs as layers have them: neighbouring columns are correlated.
std::vector<float> MakeInputs(std::mt19937& random) {
  std::vector<float> inputs(kTokens * kColumns);
  for (int64_t t = 0; t < kTokens; ++t) {
    float value = 0;
    for (int64_t c = 0; c < kColumns; ++c) {
      const float noise = static_cast<float>(random()) / 4294967296.0f - 0.5f;
      value = 0.9f * value + noise;
      inputs[static_cast<size_t>(t * kColumns + c)] = value;
    }
  }
  return inputs;
}

void Run() {
  std::mt19937 random(1);
  std::vector<float> weight(kRows * kColumns);
  for (float& w : weight) w = static_cast<float>(random()) / 4294967296.0f - 0.5f;
  const std::vector<float> inputs = MakeInputs(random);

  gptq::LayerInputs layer(kColumns);
  layer.Add({inputs.data(), kTokens, kColumns});  // any number of calls
  const std::vector<float> hessian = layer.Hessian();

  gptq::QualityOptions options;
  options.bits = 3;
  options.group_size = 64;
  for (const char* method : {"rtn", "gptq"}) {
    options.method = method;
    const gptq::QuantizedMatrix quantized =
        gptq::QuantizeMatrix({weight.data(), kRows, kColumns}, {hessian.data(), kColumns, kColumns}, options);
    std::printf("%s: relative error of the outputs %.4f, %lld groups, first code %d\n", method,
                *quantized.relative_error, static_cast<long long>(quantized.groups), quantized.codes[0]);
  }
}

}  // namespace

int main() {
  try {
    Run();
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
