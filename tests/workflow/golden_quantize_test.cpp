// Every golden model quantized, written, read back; the loss against that of rounding to nearest.
#include <map>
#include <random>

#include "io/safetensors_writer.h"
#include "quant/measure.h"
#include "quant/rtn.h"
#include "tests/workflow/workflow_fixtures.h"
#include "workflow/quantize.h"

namespace gptq {
namespace golden_quantize_test {

namespace fs = std::filesystem;

constexpr int64_t kSamples = 32, kTokens = 24;

std::vector<int32_t> RandomIds(int64_t count, int64_t vocabulary) {
  std::mt19937 random(7);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary));
  return ids;
}

void WriteCalibration(const fs::path& path, std::vector<int32_t> ids) {
  Tensor tensor = Tensor::Uninitialized(DType::kI32, {kSamples, kTokens});
  std::ranges::copy(ids, tensor.As<int32_t>().begin());
  WriteSafetensors(path, {{"input_ids", tensor.view()}});
}

QuantizeOptions FourBits(const fs::path& model, const fs::path& folder) {
  QuantizeOptions options;
  options.model = model;
  options.output = folder / "out";
  options.solver.bits = 4;
  options.solver.group_size = 32;
  options.calibration.file = folder / "calibration.safetensors";
  options.calibration.sink_sequences = 0;
  return options;
}

// The loss of all linears under the Hessians of the unquantized model: of these weights, and of those rounded
// to nearest.
std::pair<double, double> Losses(Decoder& decoder, const std::vector<int32_t>& ids,
                                 const std::map<std::string, PackedWeight>& packed) {
  Backend& backend = decoder.backend();
  SolverOptions rounding;
  rounding.group_size = 32;
  rounding.clip = Clip::kNone;
  double quantized = 0, rounded = 0;
  BlockState state{kSamples, kTokens, decoder.Embed(ids, kTokens), {}};
  for (const Block& block : decoder.blocks()) {
    block.Begin(backend, state);
    for (size_t number = 0; number < block.stages().size(); ++number) {
      const Stage& stage = block.stages()[number];
      const auto rows = block.GroupRows(backend, number, state);
      for (size_t group = 0; group < stage.groups.size(); ++group) {
        const MatrixView input =
            block.GroupInput(backend, number, group, state, rows[group] ? &*rows[group] : nullptr);
        if (input.rows == 0) continue;
        HessianAccumulator accumulator(input.columns);
        accumulator.Add(input.data, input.rows, input.columns, backend.pool());
        const Hessian hessian = accumulator.Finish(backend.pool());
        for (size_t i = 0; i < stage.groups[group].count; ++i) {
          const LinearLayer& linear = stage.linears[stage.groups[group].first + i];
          const int64_t n = linear.weight.rows(), columns = linear.weight.columns();
          std::vector<float> original(static_cast<size_t>(n * columns)), result(original.size());
          linear.weight.ReadRows(0, n, original.data());
          DequantizeRows(packed.at(linear.name), 0, n, result.data());
          const ConstMatrixView weight = ConstMatrix(original.data(), n, columns);
          const SolveResult nearest = RoundToNearest(weight, rounding, backend.pool());
          quantized +=
              MeasureError(weight, ConstMatrix(result.data(), n, columns), hessian.view(), 0, backend.pool())
                  .loss;
          rounded += MeasureError(weight, ConstMatrix(nearest.dequantized.data(), n, columns), hessian.view(),
                                  0, backend.pool())
                         .loss;
        }
      }
      block.Advance(backend, number, decoder.positions(), state);
    }
  }
  return {quantized, rounded};
}

class QuantizedGoldenModel : public testing::TestWithParam<std::string> {};

TEST_P(QuantizedGoldenModel, ReadsBackExactlyAndBeatsRoundToNearest) {
  const fs::path model = TestData("models") / GetParam();
  const auto backend = MakeCpuBackend(2);
  const auto original = ModelFiles::Open(model);
  const std::vector<int32_t> ids = RandomIds(kSamples * kTokens, original->spec().vocabulary);
  TemporaryFolder folder;
  WriteCalibration(folder.path() / "calibration.safetensors", ids);
  QuantizeOptions options = FourBits(model, folder.path());
  std::map<std::string, PackedWeight> packed;
  options.observe = [&](const std::string& name, const StoredMatrix& weight) {
    packed[name] = std::get<PackedWeight>(weight);
  };
  SilentProgress progress;
  const QuantizeReport report = Quantize(options, *backend, progress);
  EXPECT_EQ(report.layers.size(), packed.size());

  const auto in_memory = original->LoadDecoder(*backend, kTokens);
  const auto [quantized, rounded] = Losses(*in_memory, ids, packed);
  EXPECT_LT(quantized, rounded);

  for (Block& block : in_memory->blocks()) {
    for (Stage& stage : block.stages()) {
      for (LinearLayer& linear : stage.linears) linear.weight = Weight(packed.at(linear.name));
    }
  }
  const auto files = ModelFiles::Open(options.output);
  const auto read_back = files->LoadDecoder(*backend, kTokens);
  const std::span<const int32_t> some = std::span(ids).first(2 * kTokens);
  const Matrix a = in_memory->Logits(in_memory->Run(some, kTokens).view());
  const Matrix b = read_back->Logits(read_back->Run(some, kTokens).view());
  EXPECT_TRUE(std::equal(a.data(), a.data() + a.view().elements(), b.data()));
}

INSTANTIATE_TEST_SUITE_P(All, QuantizedGoldenModel, testing::ValuesIn(GoldenModels()),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace golden_quantize_test
}  // namespace gptq
