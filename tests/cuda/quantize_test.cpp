// The main job on the GPU (or its emulation) beside the processor's.
#include "workflow/quantize.h"

#include "tests/cuda/cuda_fixtures.h"
#include "tests/workflow/workflow_fixtures.h"

namespace gptq {
namespace quantize_test {

class CudaQuantize : public CudaTest {
 protected:
  using Packed = std::map<std::string, PackedWeight>;

  QuantizeReport Run(Backend& backend, const char* name, Packed& packed) {
    QuantizeOptions options;
    options.model = Stories();
    options.output = folder_.path() / name;
    options.solver.group_size = 32;
    options.solver.symmetric = false;
    options.format = WeightFormat::kGptqV2;
    options.calibration.file = std::filesystem::path(GPTQ_SOURCE_DIR) / "data/tinystories/calibration.jsonl";
    options.calibration.samples = 4;
    options.calibration.sequence_length = 32;
    options.calibration.sink_sequences = 8;
    options.observe = [&](const std::string& linear, const StoredMatrix& weight) {
      packed[linear] = std::get<PackedWeight>(weight);
    };
    SilentProgress progress;
    return Quantize(options, backend, progress);
  }

  TemporaryFolder folder_;
};

// Activations are rounded to float16 on the way, so that codes near the middle of two may differ, and with
// them what later ones make up for.
TEST_F(CudaQuantize, AgreesWithTheProcessor) {
  if (!has_time()) GTEST_SKIP() << "the emulation takes long: ./test long runs it";
  Packed expected, found;
  const QuantizeReport host = Run(*MakeCpuBackend(2), "host", expected);
  const QuantizeReport device = Run(backend(), "device", found);
  ASSERT_EQ(device.layers.size(), host.layers.size());
  double sum = 0;
  for (size_t i = 0; i < host.layers.size(); ++i) {
    EXPECT_EQ(device.layers[i].name, host.layers[i].name);
    const double ratio = *device.layers[i].relative_error / *host.layers[i].relative_error;
    EXPECT_NEAR(ratio, 1, 0.05) << host.layers[i].name;
    sum += ratio;
  }
  EXPECT_NEAR(sum / static_cast<double>(host.layers.size()), 1, 0.01);
  const auto& first = host.layers.front().name;  // whose inputs are those of the processor
  int64_t different = 0;
  const auto &a = expected.at(first).codes, &b = found.at(first).codes;
  for (size_t i = 0; i < a.size(); ++i) different += a[i] != b[i];
  EXPECT_LT(static_cast<double>(different), 0.02 * static_cast<double>(a.size()));
}

}  // namespace quantize_test
}  // namespace gptq
